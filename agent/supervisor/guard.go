package supervisor

import "time"

// Guard lets a pod run until a time (on CLOCK_BOOTTIME), at which everything in its cgroups is killed unless Lease has said a
// later one. cgroups are the pod's directories, named like it, in every hierarchy. It fails with ESTALE if the time has passed.
func (c *Client) Guard(pod string, until time.Duration, cgroups []string) error {
	return c.simple(newMessage("GUARD").str(pod).num(int(until)).list(cgroups))
}

// Unguard forgets a pod.
func (c *Client) Unguard(pod string) error { return c.simple(newMessage("UNGUARD").str(pod)) }

// Lease says until when guarded pods may run that still do; 0 only asks. It returns for each pod that is guarded whether it may
// run: one that was stopped is to be guarded anew.
func (c *Client) Lease(until time.Duration) (map[string]bool, error) {
	f, files, err := c.do(newMessage("LEASE").num(int(until)))
	closeAll(files)
	if err != nil {
		return nil, err
	}
	if len(f)%2 != 1 {
		return nil, errShape
	}
	out := map[string]bool{}
	for i := 1; i < len(f); i += 2 {
		out[f[i]] = f[i+1] == "runs"
	}
	return out, nil
}

// Open opens a path for reading and holds it under hold, if the pod is guarded and its lease lasts; else it fails with ESTALE.
func (c *Client) Open(pod, path, hold string) error {
	return c.simple(newMessage("OPEN").str(pod).str(path).str(hold))
}
