// Command bench prints the speed table of docs/RECORDS.md: our number beside its target, with the
// command that makes it. Each row starts labs of the real binary; nothing in here fails for being slow.
//
//	go run -tags netgo,osusergo ./bench                  # all rows
//	go run -tags netgo,osusergo ./bench -run apply,writes
//	go run -tags netgo,osusergo ./bench -run nodes -kills 20
package main
