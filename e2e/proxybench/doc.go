// Command proxybench measures netproxy beside a direct connection, HAProxy, nginx and packet filters with DNAT, all in one run
// between the same network namespaces, which it makes and removes. Every sample of a path stands next to a direct one of its own,
// and what is printed are medians of their ratios. Processor time counts the client, the backend and the proxy, so that it
// means something on a busy machine, too.
//
//	make bench-proxy
//	go run -tags netgo,osusergo ./proxybench -run bulk,requests -paths peapod,nginx -rounds 3
//	go run -tags netgo,osusergo ./proxybench -run connects -paths peapod,peapod@/tmp/proxybench.before
//
// The bench re-executes itself within the namespaces as client (client.go, load.go), as backend (backend.go) and as the proxy
// under test (subject.go).
package main
