// Package tokens issues and verifies the tokens of service accounts: JSON Web Tokens (RFC 7519) signed with ES256, bound to an
// audience, a time, the account's UID and, if asked for, a pod, secret or node (KEP-1205).
//
// Main flow: New makes an Issuer of the cluster's keys, the first of which signs. Issue signs Claims, Verify checks what anybody
// can check (signature, issuer, time); Discovery and JWKS are what others need to check it themselves (OpenID Connect Discovery 1.0).
//
// It must not know: whether the account or the pod still exists, who may ask for a token, or where keys are kept.
package tokens
