package pki

import "time"

// Validities. Renewal comes after two thirds of a certificate's life.
const (
	// PeerValidity is the life of a server's or node's identity.
	PeerValidity = 90 * 24 * time.Hour
	// ServingValidity is the life of the API's serving certificate.
	ServingValidity = 90 * 24 * time.Hour
	// caValidityYears outlives the machines: nothing may rot because nobody looked at it.
	caValidityYears = 100
	// skew is how far back a certificate is dated, for machines whose clocks are behind.
	skew = time.Hour
)

const (
	// MaxNameLength of a server or node, as for a Kubernetes object name.
	MaxNameLength = 253
	// maxPEMBytes that a certificate, key or request may have.
	maxPEMBytes = 64 << 10
	// renewRetryMin and renewRetryMax bound the pause after a renewal that failed.
	renewRetryMin = 10 * time.Second
	renewRetryMax = 10 * time.Minute
)
