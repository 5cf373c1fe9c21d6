"""The differences that we know of, and why they are."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from conformance.compare import Compared


@dataclass(frozen=True)
class Known:
    """A difference that is meant: which examples have it, by name, how it begins, and why."""

    examples: str
    difference: str
    why: str

    def explains(self, example: str, difference: str) -> bool:
        """Whether it is this one."""
        return bool(re.match(self.examples, example) and re.match(self.difference, difference))


KNOWN: Sequence[Known] = (
    Known(
        r"\w+\.create_",
        r"status: 201 instead of 200$",
        "What was made is answered with 201 (RFC 9110, 15.3.2). The clients take both.",
    ),
    Known(
        r"auth\.create_(child_)?client\.client_type_(confidential_client|client_identity)$",
        r"client\.grant_types: ",
        "Only clients that can be resource servers get dependent tokens. The examples contradict"
        " each other: those of `delete_client` and `get_clients` are as ours.",
    ),
    Known(
        r"auth\.create_(child_)?client\.client_type_public_webapp_client$",
        r"client\.grant_types: ",
        "A client without a secret proves nothing: it gets no tokens of its own (RFC 6749, 4.4).",
    ),
    Known(
        r"auth\.create_native_app_instance\.",
        r"client\.(client|included): missing$",
        "The example has the answer inside of `client` once more. Ours is as the `globus` command"
        " reads it: `client` and `included` side by side.",
    ),
    Known(
        r"auth\.(get_client\.fqdn|(get_clients|get_client|delete_client)\.default)$",
        r"(client|clients\[\])\.fqdns: empty$|status: 404 instead of 200",
        "Clients have no domain names here; nothing is found by one.",
    ),
    Known(
        r"auth\.userinfo\.forbidden$",
        r"error: 'forbidden' instead of 'unauthorized'$",
        "The example says `unauthorized` in an answer with 403.",
    ),
    Known(
        r"groups\.(get_group\.subscription|get_group_by_subscription_id|set_subscription_admin)",
        r"group_type: |subscription_|status: 404 instead of 200",
        "There are no subscriptions: nothing has to be paid for.",
    ),
)


KNOWN_LIVE: Sequence[Known] = ()
"""Of a whole deployment's answers."""


def explained(
    compared: Compared, all_known: Sequence[Known] = KNOWN
) -> tuple[list[Known], list[str]]:
    """The known differences of an example, and what nobody knows of."""
    known: list[Known] = []
    unknown = []
    for difference in compared.differences:
        for one in all_known:
            if one.explains(compared.example.name, difference):
                known.append(one)
                break
        else:
            unknown.append(difference)
    return list(dict.fromkeys(known)), unknown
