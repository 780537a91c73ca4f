"""A gallery, served by HTTP: an API, and what a page needs.

In:     a gallery, the run that made its codes, and requests of strangers.
Out:    answers in JSON, pictures, figures for monitoring. No path of this machine is in any of them, and none comes in.

    refusals      why a request is not answered, and the status that says so
    names         names of videos and folders as strangers see them; paths taken out of texts
    guards        who may ask: hosts, tokens, origins; what every answer says to a browser
    limited       threads for what takes time, and no more waiting for them than they can do
    computed      what takes long and is the same until the gallery changes
    uploads       the body of a request -> a file of its own in a private folder
    remembered    uploads that were searched with: their codes, and pictures of their windows
    encoding      one thread that encodes what arrives, across users
    pictures      pictures of stretches of videos, remembered
    asked         what requests may ask, checked
    answers       what answers hold
    searching     a query -> hits, as answers
    opened        the gallery as it is now, also where another one lies in its place
    browsing      a gallery -> lists, groups, a map, its health, as answers
    service       all of these together, for one gallery
    media         pictures as answers, and ranges of them
    figures       counts of what was answered, for monitoring
    query_routes  POST /api/query, /api/classify, and what became of them
    routes        the other routes
    rendering     templates -> pages, and the files beside them
    shown         what pages show of videos: cards, strips of clips, filters
    page_answers  what each page shows
    pages         the routes of pages
    app           the application
    serving       it on a socket, until a signal
"""

__all__ = [
    "app",
    "guards",
    "names",
    "remembered",
    "service",
    "serving",
    "uploads",
]  # the modules that other wings, tests and benchmarks import from
