// Package share lets the nodes of a cluster hand one another the layers of images, so that one pull serves all.
//
// Main flow: every digest has a keeper, a node that all others find by rendezvous hashing. A node that needs a blob asks
// the keeper (keeper.go), which remembers who fetches and who has it: the first to ask is sent to the registry, the others to
// one who was there before them, at most a few to each (table.go). They read the blob from that node while it is still
// coming (server.go), and verify it themselves. Whatever fails, the registry is asked instead.
//
// It must not know: who may have which image. Layers are asked for by a node whose pod the registry has told of them.
package share
