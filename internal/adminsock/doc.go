// Package adminsock serves HTTP on a unix socket that only root can open: the way of the operator's
// commands on the machine itself, which need no certificate and work when the API does not.
//
// It must not know: what the routes do.
package adminsock
