// Package admittest tests, on the real binary, what users put before admission: quotas, policies and webhooks, for what comes through the API
// and for what controllers make.
package admittest
