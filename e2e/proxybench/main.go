package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var (
	rounds = flag.Int("rounds", 5, "how often each path is measured")
	length = flag.Duration("for", time.Second, "how long each sample takes")
	only   = flag.String("run", "", "what to measure, separated by commas: "+strings.Join(metricNames(), ", ")+", calls, idle, listeners, swap; all if empty")
	ways   = flag.String("paths", strings.Join(pathNames, ","), "the paths beside the direct one, separated by commas; "+otherBuild+"FILE is by another build of this program")
	prefix = flag.String("prefix", "proxybench", "of the namespaces' names")
)

func main() {
	if err := part(); err != nil {
		fmt.Fprintln(os.Stderr, "proxybench:", err)
		os.Exit(1)
	}
}

// part is the bench, or what it re-executes itself for.
func part() error {
	switch args := os.Args[1:]; {
	case len(args) == 2 && args[0] == "backend":
		addresses, err := strconv.Atoi(args[1])
		return errors.Join(err, backend(addresses))
	case len(args) == 2 && args[0] == "client":
		return client(args[1])
	case len(args) == 3 && args[0] == "subject":
		return runSubject(args[1], args[2])
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return bench(ctx)
}

const filesWanted = 100_000

// files is how many descriptors a process may open.
func files() int {
	var l unix.Rlimit
	_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &l)
	return int(min(l.Cur, filesWanted))
}

func wanted(name string) bool {
	for _, w := range strings.Split(*only, ",") {
		if w == "" || w == name {
			return true
		}
	}
	return false
}

func bench(ctx context.Context) (err error) {
	// Clients, backends and proxies inherit this. Where it may not be raised, fewer connections are held.
	_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: filesWanted, Max: filesWanted})
	names := strings.Split(*ways, ",")
	s, err := build(ctx, *prefix, len(names)+1)
	if s != nil {
		defer s.remove()
	}
	if err != nil {
		return err
	}
	paths, err := s.paths(names)
	if err != nil {
		return err
	}
	for _, p := range paths {
		if p.brief {
			continue
		}
		if p.pids, err = p.open(ctx); err != nil {
			return fmt.Errorf("starting %s: %w", p.name, err)
		}
		defer p.close()
	}
	b := &measurement{site: s, paths: paths}
	return errors.Join(b.ratios(ctx), b.counts(ctx), b.capacity(ctx), b.print(os.Stdout))
}
