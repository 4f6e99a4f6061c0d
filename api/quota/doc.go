// Package quota counts what objects take of a ResourceQuota: how many there are of a kind, and what pods, claims and services ask for.
//
// Admission (server/kube) asks it what one object takes, the engine (sched/reconcile) what all of a namespace do, so that both
// count alike. The framework is k8s.io/apiserver's.
//
// The package must not know: where objects come from, what becomes of a quota.
package quota
