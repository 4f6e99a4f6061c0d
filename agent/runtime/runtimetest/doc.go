// Package runtimetest is the suite that every runtime.Executor passes, and what its users need for it.
//
// Main flow: an executor's own test calls Run with a function that opens it and a statement of what it can do;
// an executor without processes is not asked about logs or commands.
//
// It must not know: any executor.
package runtimetest
