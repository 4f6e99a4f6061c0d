// Package nodeauth says what a node may read and write: what its own pods need, and nothing else.
//
// Names is the rule for what a pod's spec refers to. Package server asks it for agents, which come over their own connections.
// Authorizer asks it for users of the group system:nodes, clients of the API that say that they are a kubelet: every decision is a look
// at the node's pods and at what their claims lead to, so there is no graph to keep. What depends on the object that is written is for
// the admission rule of package kube.
//
// The rules, and the words in which it refuses, are those of Kubernetes' node authorizer.
//
// It must not know: HTTP, who authenticated the user and how, how the state is replicated.
package nodeauth
