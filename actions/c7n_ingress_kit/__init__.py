"""The command `c7n-ingress`: it lays the policies, the stack and the mailer into a folder of one's own.

A package of its own, beside `c7n_ingress`: every file of that one is shipped into each Lambda, and none needs these.
"""
