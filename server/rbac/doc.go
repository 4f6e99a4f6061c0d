// Package rbac decides by roles and bindings what a user may do.
//
// Main flow: State shows the four tables of the policy and counts their changes. Authorizer arranges them by who is meant (picture,
// bindings) and each role by what is asked (compiled), and asks that until a count is another one; a request costs a few look-ups and
// no memory. RulesFor lists what a user may do. Guard keeps users from granting what they do not have. Reconcile says what must be
// written so that every cluster has the roles and bindings of Bootstrap, and Aggregate computes the rules of roles that are made of
// others.
//
// Everything but Authorizer's cache is a function of its arguments. Decisions, their reasons and the errors are worded as Kubernetes
// words them, since users and tools read them.
//
// It must not know: HTTP, who authenticated the user and how, the store and how it is replicated.
package rbac
