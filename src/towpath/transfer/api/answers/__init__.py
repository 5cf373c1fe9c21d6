"""What the routes answer, as schemas: for the document of the API, and for the tests that hold
real answers to it. At run time nothing passes through them.
"""
