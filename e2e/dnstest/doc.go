// Package dnstest proves in a lab of its own what pods and nodes are told about names.
package dnstest
