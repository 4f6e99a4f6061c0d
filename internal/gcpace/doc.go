// Package gcpace collects garbage less often while a process is busy and its heap is small.
//
// Go starts a collection when the heap has doubled. A server whose state is some ten megabytes then collects many times a second
// under load, for memory that nobody misses. Start lets such a heap grow up to a floor instead; an idle process and a
// large heap keep Go's own pace, so that idle memory stays low and a large state does not triple.
//
// It must not know: what the process does.
package gcpace
