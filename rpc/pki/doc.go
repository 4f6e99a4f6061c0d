// Package pki makes and checks the cluster's certificates: its CA, the identities with which servers and
// nodes speak to one another, the API's serving certificate, users' client certificates, kubeconfigs and
// join tokens.
//
// Main flow: the first server calls NewCA and keeps both PEM blocks in the replicated state. A joining agent
// makes a key and a signing request (NewRequest), shows a Token, and gets what CA.SignPeer returned. Both ends of
// every connection hold an Identity, whose tls.Config is always fresh: Identity.Run renews the
// certificate in process, and no connection ever looks at an IP address.
//
// Who somebody is, is said by one URI in the certificate, peapod://server/NAME or peapod://node/NAME.
// An API user's certificate has no such URI, so it cannot speak rpc, although the same CA signed it.
//
// It must not know: how certificates travel, where the CA's key is kept, or which tokens are valid.
package pki
