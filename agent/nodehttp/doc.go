// Package nodehttp serves what only a node can give of its pods, over the connection that the agent keeps to the servers:
//
//	GET      /pods                                  the node's pods as a v1.PodList
//	GET      /logs/NAMESPACE/POD/CONTAINER          ?follow&tailLines&sinceSeconds&sinceTime&timestamps&limitBytes&previous&stream
//	GET POST /exec/NAMESPACE/POD/CONTAINER          ?command=...&stdin&stdout&stderr&tty (SPDY or WebSocket v4)
//	GET POST /attach/NAMESPACE/POD/CONTAINER        the same without command; what was said before is the log's
//	GET POST /portforward/NAMESPACE/POD             ?port=... (SPDY, or WebSocket v4)
//	GET      /dial/ADDRESS                          a TCP connection to ADDRESS (host:port) from here (Upgrade: tcp)
//	GET      /healthz                               ok
//
// Parameters are those of the Kubernetes API's subresources, so a server passes its query on as it is.
//
// It must not know: who is asking and whether they may; the servers have decided that.
package nodehttp
