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


_GCS = r"globus_connect_server\."

KNOWN_LIVE: Sequence[Known] = (
    Known(
        r"transfer\.(submit_|operation_mkdir|cancel_task)",
        r"status: 202 instead of 200$|code: 'CancelAccepted'",
        "What is accepted and done in a moment is answered with 202 (RFC 9110, 15.3.3). The clients"
        " take both.",
    ),
    Known(
        r"transfer\..*(tunnel|stream_access_point)",
        r"status: 404 instead of 200",
        "There are no streams.",
    ),
    Known(
        r"transfer\.set_subscription_",
        r"status: 400 instead of |code: 'BadRequest' instead of 'PermissionDenied'$",
        "There are no subscriptions: nothing has to be paid for.",
    ),
    Known(
        r"transfer\.(endpoint_manager_)?task_list\.|timer\.\w+_jobs?\.(default|inactive_)",
        r"(DATA|jobs)\[\]\.(completion_time|destination_\w+|files_transferred): null$"
        r"|(\w+\[\]\.)?status: |(jobs\[\]\.)?(interval|inactive_reason|last_ran_at|next_run): null$"
        r"|(jobs\[\]\.)?(results\.data: empty$|callback_body\.body\.)",
        "The example is of a task or timer in another state, or that was asked for otherwise; what"
        " has not happened yet is null.",
    ),
    Known(
        r"transfer\.get_endpoint\.",
        r"expire_time: null$|DATA\[\]\.subject: null$",
        "How long a credential is good is told with the credential, and who a server is only where"
        " its registration says so.",
    ),
    Known(
        r"timer\.create_timer\.default$",
        r"timer\.body\.\w+: missing$",
        "A timer's body is shown as it was given, without what holds if nothing is said.",
    ),
    Known(
        r"timer\.create_timer\.flow_timer_success$",
        r"status: 422 instead of 201",
        "There are no flows.",
    ),
    Known(
        r"timer\.get_job\.simple_500_error$",
        r"status: 200 instead of 500$|error: missing$",
        "The example is of a service that fails. Ours does not do so on request.",
    ),
    Known(
        _GCS + r"(create|update|delete)_storage_gateway\.(default|validation|permission)",
        r"status: 422 instead of 200|detail: null$",
        "There is one gateway, and the endpoint's nodes say what it is: it cannot be changed here."
        " The message says what is wrong; `detail` has nothing to add.",
    ),
    Known(
        _GCS + r"create_user_credential\.",
        r"status: 201 instead of 200$",
        "What was made is answered with 201 (RFC 9110, 15.3.2). The clients take both.",
    ),
    Known(
        _GCS + r"get_collection_list\.forbidden$",
        r"status: 200 instead of 403$|code: 'success'",
        "Who manages nothing is shown the collections that he sees anyway.",
    ),
    Known(
        _GCS,
        r"data\[\]\.(display_name|contact_email): null$",
        "Nobody has given one.",
    ),
    Known(
        _GCS + r"get_(collection_list|storage_gateway)",
        r"data\[\]\.(authentication_\w+: null|require_high_assurance: missing)$"
        r"|data\[\]\.(allowed_domains: empty|mapping: null)$"
        r"|data\[\]\.(policies|restrict_paths|users_allow|users_deny): missing$",
        "There is no high assurance; who may come in and where, the endpoint's nodes decide, and"
        " do not tell.",
    ),
)
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
