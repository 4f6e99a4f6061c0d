// Package ops is the list of changes that a writer can ask of the store, and their binary form.
//
// An Op is what goes into the replicated log. It is complete: names, UIDs and times are in it, so
// that applying it needs no clock and no chance. The API façade, the controllers (sched/reconcile)
// and the node agents all speak it; fsm applies it; nobody else interprets it.
//
// It must not know: how ops are replicated, stored or authorised.
package ops
