package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTicks is USER_HZ, which Linux has fixed at 100 for programs.
const clockTicks = 100

// stat is the part of /proc/PID/stat that we read.
type stat struct {
	state   byte
	start   uint64
	threads int
}

func readStat(pid int) (stat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	// The command's name is in parentheses and may hold anything, so fields count from the last one.
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return stat{}, errors.New("unknown format of /proc/PID/stat")
	}
	f := strings.Fields(string(b[i+1:]))
	if len(f) < 20 {
		return stat{}, errors.New("unknown format of /proc/PID/stat")
	}
	start, err := strconv.ParseUint(f[19], 10, 64)
	threads, e := strconv.Atoi(f[17])
	return stat{state: f[0][0], start: start, threads: threads}, errors.Join(err, e)
}

// ended tells whether nothing of the process runs any more. While one of its other threads executes a program, as agents do when they start, the first is
// a zombie for a moment, which on a busy machine is a long one, and the same while a killed process's threads end one after the other: but then the
// process has another thread.
func (s stat) ended() bool {
	return s.state == 'X' || s.state == 'Z' && s.threads <= 1
}

// identify records a process that is known to live.
func identify(pid int) (Process, error) {
	s, err := readStat(pid)
	return Process{PID: pid, Start: s.start}, err
}

// alive tells whether this very process exists and has not ended.
func (p Process) alive() bool {
	if p.PID == 0 {
		return false
	}
	s, err := readStat(p.PID)
	return err == nil && s.start == p.Start && !s.ended()
}

// age is how long ago the process started.
func (p Process) age() time.Duration {
	b, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0
	}
	up, err := strconv.ParseFloat(strings.Fields(string(b))[0], 64)
	if err != nil {
		return 0
	}
	return time.Duration(up*float64(time.Second)) - time.Duration(p.Start)*time.Second/clockTicks
}

// arguments is a process's command line; nil if it has gone.
func arguments(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(b) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
}
