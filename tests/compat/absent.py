"""Commands of services that are not part of a deployment."""

from uuid import uuid4

from compat.rows import not_offered

NO_FLOWS = "Automation of steps is not part of Towpath."
NO_SEARCH = "Search indices are not part of Towpath."
NO_STREAMS = "Streams are not part of Towpath: files are moved, not connections."
SOME = str(uuid4())
OTHER = str(uuid4())

for command, *arguments in (
    ("api flows", "GET", "/flows"),
    ("flows create", "Title", "{}"),
    ("flows delete", SOME),
    ("flows list",),
    ("flows registered-api list",),
    ("flows registered-api show", SOME),
    ("flows run cancel", SOME),
    ("flows run delete", SOME),
    ("flows run list",),
    ("flows run resume", SOME),
    ("flows run show", SOME),
    ("flows run show-definition", SOME),
    ("flows run show-logs", SOME),
    ("flows run update", SOME, "--label", "x"),
    ("flows show", SOME),
    ("flows update", SOME, "--title", "x"),
    ("flows validate", "{}"),
    ("flows web-input list",),
    ("flows web-input respond", SOME, OTHER),
    ("flows web-input show", SOME),
):
    not_offered(NO_FLOWS, "no Flows service", command, *arguments)

# a flow is a service of its own, with a scope that a login would be for
not_offered(NO_FLOWS, "there is no scope", "flows start", SOME)

# the program itself looks for the flow first, and has words of its own for it
not_offered(NO_FLOWS, "No flow discovered", "timer create flow", SOME, "--interval", "1d", code=2)

for command, *arguments in (
    ("api search", "GET", "/v1/index_list"),
    ("search delete-by-query", SOME, "-q", "x"),
    ("search index create", "Name", "Description"),
    ("search index delete", SOME),
    ("search index list",),
    ("search index role create", SOME, "writer", OTHER, "--type", "identity"),
    ("search index role delete", SOME, OTHER),
    ("search index role list", SOME),
    ("search index show", SOME),
    ("search ingest", SOME, "{}"),
    ("search query", SOME, "-q", "x"),
    ("search subject delete", SOME, "x"),
    ("search subject show", SOME, "x"),
    ("search task list", SOME),
    ("search task show", SOME),
):
    not_offered(NO_SEARCH, "no Search service", command, *arguments)

for command, *arguments in (
    ("streams access-point show", SOME),
    ("streams tunnel create", SOME, OTHER),
    ("streams tunnel delete", SOME),
    ("streams tunnel events", SOME),
    ("streams tunnel list",),
    ("streams tunnel show", SOME),
    ("streams tunnel stop", SOME),
    ("streams tunnel update", SOME, "--label", "x"),
):
    not_offered(NO_STREAMS, "no Streams service", command, *arguments)
