"""What the document of the API says in words: groups of routes, parameters, errors, examples."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

INTRODUCTION: Final = (
    "Move files between endpoints, and look into them. The routes are those of the Globus Transfer"
    " API as far as its clients know them, and some of our own; `docs/reference/api.md` says which"
    " ones, and how far they go.\n\n"
    "Every document has a `DATA_TYPE`; lists have their documents in `DATA`. Unknown fields of a"
    " request are ignored. Every answer carries `X-Request-Id`: the log of the service has it, too."
    " An error has a `code` for programs, which may get more parts at its end, and a `message` for"
    " people."
)

GROUPS: Final[Mapping[str, tuple[str, str]]] = {
    "submissions": ("Submitting", "Ask for files to be copied or deleted."),
    "tasks": ("Tasks", "What was asked for: how it stands, what was done, and what went wrong."),
    "progress": ("Progress", "Watch tasks as they move."),
    "explain": ("Explanations", "Why a task takes as long as it does."),
    "plans": ("Plans", "What a transfer or a delete would do."),
    "operations": ("Files", "Look into endpoints, and make small changes there."),
    "endpoints": ("Endpoints", "Register servers and computers, and find those of others."),
    "endpoint_tests": ("Testing endpoints", "Whether a server can be used, and what is wrong."),
    "credentials": ("Credentials", "What you log in to endpoints with."),
    "activation": ("Activation", "Credentials as programs of before 2014 gave them."),
    "shared_endpoints": ("Sharing", "Guest collections: directories that others may use."),
    "access": ("Access rules", "Who may read and write in a guest collection."),
    "roles": ("Roles", "Who else may manage an endpoint."),
    "bookmarks": ("Bookmarks", "Places to come back to."),
    "bookmarks_v2": ("Bookmarks", "Places to come back to."),
    "endpoint_manager": ("Managing endpoints", "Tasks of others at endpoints that you manage."),
    "pause_rules": ("Pause rules", "Keep an endpoint quiet for a while."),
    "servers": ("Servers", "The servers of an endpoint."),
    "subscriptions": ("Subscriptions", "There are none; clients ask for them all the same."),
    "webhooks": ("Webhooks", "Be told when something happens."),
    "manifests": ("Manifests", "Signed lists of what was copied."),
    "agents": ("Agents", "What the agents of Connect endpoints ask and tell."),
    "relays": ("Relays", "What relays ask and tell."),
}
"""By the module of the routes: the name of their group, and what it is about."""

PARAMETERS: Final[Mapping[str, str]] = {
    "task_id": "Of the task",
    "endpoint_id": "Of the endpoint or collection",
    "bookmark_id": "Of the bookmark",
    "role_id": "Of the role",
    "rule_id": "Of the rule",
    "server_id": "Of the server: 0",
    "cancel_id": "As `admin_cancel` has answered",
    "filter_status": "Statuses, with commas",
    "filter_task_id": "Ids, with commas; goes with no other filter",
    "filter_endpoint": "An endpoint: tasks at it and at what belongs to it, or its pause rules",
    "filter_endpoint_use": "At which end of a task `filter_endpoint` is",
    "filter_is_paused": "Whether somebody has paused them",
    "filter_completion_time": "`FROM,TO`; one may be empty. Without `TO` unfinished ones as well",
    "filter_min_faults": "How many faults at least",
    "filter_local_user": "An account at `filter_endpoint`, which is no guest collection",
    "filter_is_error": "Whether they tell of faults",
    "if_expires_in": "Seconds: if a credential is good for so long, nothing is done",
    "plan_id": "Of the plan",
    "webhook_id": "Of the webhook",
    "type": "The kind of activation that is asked for",
    "action": "Only entries with which this would be done",
    "key": "From the link in a mail",
    "limit": "How many at most",
    "offset": "How many to leave out at the beginning",
    "marker": "`next_marker` of the page before",
    "max_results": "How many at most",
    "next_token": "`next_token` of the page before",
    "last_key": "Of the page before",
    "orderby": "Fields to sort by, each with `ASC` or `DESC`, as in `name ASC,size DESC`",
    "filter": "Clauses `field:value`, joined by `/`: all of them must hold",
    "fields": "Names of fields, with commas: the answer has no others",
    "local_user": "Of a server's collection: the account that you have there. Refused elsewhere",
    "last_event_id": "Of the last message read: what came after it is sent again",
    "show_hidden": "Whether names that begin with a dot are listed",
    "filter_scope": "Which endpoints to look at",
    "filter_fulltext": "Words that must occur in names and descriptions",
    "filter_owner_id": "An identity: endpoints that are its own",
    "filter_host_endpoint": "An endpoint: the collections that belong to it",
    "filter_entity_type": "What they are, as in `entity_type` of their documents",
    "filter_non_functional": "`1`: only those without files of their own; `0`: only the others",
}
"""By name; a route's own words come before them."""

STATUSES: Final[Mapping[int, tuple[str, str]]] = {
    400: (
        "BadRequest",
        (
            "The request is not understood, or asks for what cannot be: `ClientError.BadRequest`,"
            " or more of it, as in `ClientError.BadRequest.InvalidPath`. The message names the"
            " field"
        ),
    ),
    401: (
        "NotAuthenticated",
        "No token, or one that is not good any more: `ClientError.AuthenticationFailed`",
    ),
    403: (
        "Forbidden",
        (
            "You see it, but may not do this: `PermissionDenied`; `EndpointPermissionDenied` is the"
            " server's own word; `ConsentRequired` names the scopes to consent to"
        ),
    ),
    404: (
        "NotFound",
        (
            "There is no such thing, or you may not know of it: `TaskNotFound`, `EndpointNotFound`,"
            " `EndpointDeleted`, `BookmarkNotFound`, `ClientError.NotFound` and others"
        ),
    ),
    405: ("MethodNotAllowed", "The route is there, and takes other methods"),
    409: (
        "Conflict",
        (
            "Not as things stand: `Exists`, `ClientError.Conflict.TaskComplete`,"
            " `ClientError.Conflict.TooManyTasks` and others"
        ),
    ),
    410: ("Gone", "The endpoint was deleted: `ConnectEndpointGone`"),
    413: ("TooLarge", "The body is larger than the service takes"),
    429: ("TooMany", "Too often, or too much at once; `Retry-After` says when to come again"),
    502: (
        "EndpointFailed",
        (
            "The endpoint's server does not do it: `ExternalError` and more of it, as in"
            " `ExternalError.DirListingFailed.ConnectFailed`"
        ),
    ),
    503: (
        "Unavailable",
        (
            "The database or the identity service is away: `ServiceUnavailable`. The same request"
            " may be made again"
        ),
    ),
}
"""Of errors: the name in the document, and what it means."""

JSONAPI_FORM: Final = "V2"
"""At the end of the name of errors as JSON:API has them, which routes below /v2 answer."""

_TEXT: Final[Mapping[str, Any]] = {"type": "string"}
_ERROR_FIELDS: Final = ("status", "code", "title", "detail")
ERRORS_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "description": "What a route answers instead, as JSON:API has it",
    "properties": {
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": dict.fromkeys(_ERROR_FIELDS, _TEXT),
                "required": list(_ERROR_FIELDS),
            },
        },
        "meta": {
            "type": "object",
            "properties": {"request_id": _TEXT},
            "required": ["request_id"],
        },
    },
    "required": ["errors", "meta"],
}

NO_TOKEN: Final = frozenset({"ask_unsubscribe", "connect_authority", "set_up_node", "unsubscribe"})
"""Routes that are asked before there is a token."""

OWN_ERRORS: Final[Sequence[tuple[str, frozenset[int]]]] = (
    ("/operation/", frozenset({403, 409, 502})),
    ("test", frozenset({502})),
    ("/credential/myproxy", frozenset({502})),
    ("/activate", frozenset({502})),
    ("/autoactivate", frozenset({502})),
    ("/plan", frozenset({502})),
    ("/connect/", frozenset({403, 410, 429})),
)
"""Words in the path of routes that can answer more than their like."""

_A: Final = "ddb59aef-6d04-11e5-ba46-22000b92c6ec"
_B: Final = "ddb59af0-6d04-11e5-ba46-22000b92c6ec"

EXAMPLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "submit_transfer": {
        "a tree and a file": {
            "value": {
                "DATA_TYPE": "transfer",
                "submission_id": "6f0c1e5e-53f0-4c84-9a4e-0f7a43c3d1f2",
                "label": "Run 7",
                "source_endpoint": _A,
                "destination_endpoint": _B,
                "verify_checksum": True,
                "DATA": [
                    {
                        "DATA_TYPE": "transfer_item",
                        "source_path": "/share/godata/",
                        "destination_path": "/~/run7/",
                        "recursive": True,
                    },
                    {
                        "DATA_TYPE": "transfer_item",
                        "source_path": "/share/notes.txt",
                        "destination_path": "/~/notes.txt",
                        "recursive": False,
                    },
                ],
            }
        },
        "only what is new, as a mirror": {
            "value": {
                "DATA_TYPE": "transfer",
                "submission_id": "f1b0a6a4-2a39-4b3d-8a0e-4e0f2a7b9c11",
                "source_endpoint": _A,
                "destination_endpoint": _B,
                "sync_level": 2,
                "delete_destination_extra": True,
                "DATA": [
                    {
                        "DATA_TYPE": "transfer_item",
                        "source_path": "/share/godata/",
                        "destination_path": "/~/godata/",
                        "recursive": True,
                    }
                ],
            }
        },
    },
    "submit_delete": {
        "a tree": {
            "value": {
                "DATA_TYPE": "delete",
                "submission_id": "0a4c2f1e-6a3b-4e57-9d55-2f1c7a1b2c3d",
                "endpoint": _B,
                "recursive": True,
                "ignore_missing": True,
                "DATA": [{"DATA_TYPE": "delete_item", "path": "/~/run7/"}],
            }
        }
    },
    "mkdir": {"a directory": {"value": {"DATA_TYPE": "mkdir", "path": "/~/run8"}}},
    "rename": {
        "a file": {"value": {"DATA_TYPE": "rename", "old_path": "/~/a.txt", "new_path": "/~/b.txt"}}
    },
    "update_task": {
        "more time": {"value": {"DATA_TYPE": "task", "deadline": "2030-01-01 00:00:00"}}
    },
    "create_bookmark": {
        "a directory": {"value": {"name": "godata", "endpoint_id": _A, "path": "/share/godata/"}}
    },
}
"""Bodies, by the name of the route."""
