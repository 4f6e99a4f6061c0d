// Package kubectltest proves, with the unmodified kubectl against a lab of real nodes, what users do every day.
package kubectltest
