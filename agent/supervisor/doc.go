// Package supervisor is the small process that holds a node's pods while no agent runs.
//
// It is written in C, in a constructor of this very binary: argv[0] "peapod-supervisor" or "peapod-pause"
// takes over before Go's runtime starts, so that a pause costs 66 KB and a supervisor less than 1 MB.
// The C half (roles.c, loop.c and their neighbours) parents the agent, reaps and journals, pumps logs and
// runs commands in containers; the Go half is its client. DESIGN.md has the protocol and the life cycle.
//
// Main flow: Launch (in `peapod agent`) finds or starts the supervisor of a directory and waits in the
// foreground; the agent that the supervisor starts calls Dial, and Ready when it serves.
//
// It must not know: pods, containers' configurations, images, networks.
package supervisor
