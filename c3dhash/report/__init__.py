"""Figures and hits -> what a person looks at.

In:     numbers, hits, samples.
Out:    HTML pages of their own, pictures and plots.

    plots         curves
    captions      text on pictures
    screen        pictures in a window
    previews      stretches of videos -> small pictures that move
    templating    templates, as all pages read them
    pages         pages with pictures, from templates/
"""

__all__ = [
    "captions",
    "pages",
    "plots",
    "previews",
    "screen",
    "templating",
]  # the modules that other wings import from
