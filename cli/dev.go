package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/peapod-sh/peapod/cli/boot"
)

// devDirVariable carries the data directory from the launcher to the process that does the work.
const devDirVariable = "PEAPOD_DEV_DIR"

func devCommand() *cobra.Command {
	o := boot.Options{Name: "dev", Server: true, Client: true, Leave: true}
	var quiet bool
	c := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole cluster in one process, and leave nothing behind when it ends",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if dir := os.Getenv(supervisedVariable); dir != "" {
				o.SupervisorDir, o.DataDir = dir, os.Getenv(devDirVariable)
				return runDev(c, o)
			}
			return launchDev(o.DataDir)
		},
	}
	f := c.Flags()
	f.StringVar(&o.DataDir, "data-dir", "", "directory to keep the state in (default: a temporary one)")
	f.StringVar(&o.Kubeconfig, "kubeconfig-out", "", "also write the kubeconfig here")
	f.StringVar(&o.Bind, "bind", "", "IP address of this machine (default: the one with the default route)")
	f.StringArrayVar(&o.Mirrors, "mirror", nil, "REGISTRY=URL to pull images from instead of REGISTRY; may be repeated")
	f.StringVar(&o.LogLevel, "log-level", "error", "trace, debug, info, warn or error")
	f.IntVar(&o.APIPort, "api-port", boot.APIPort, "TCP port of the Kubernetes API")
	f.IntVar(&o.RPCPort, "rpc-port", boot.RPCPort, "TCP port between agents")
	f.IntVar(&o.GossipPort, "gossip-port", boot.GossipPort, "UDP and TCP port of gossip")
	f.IntVar(&o.IngressHTTPPort, "ingress-http-port", boot.IngressHTTPPort, "TCP port where ingresses are served, open while there are any; 0 is off")
	f.IntVar(&o.IngressHTTPSPort, "ingress-https-port", boot.IngressHTTPSPort, "TCP port where ingresses are served with TLS; 0 is off")
	f.BoolVar(&quiet, "quiet", false, "print the kubeconfig's path only")
	return c
}

// launchDev chooses the data directory, runs the cluster under a supervisor, and removes what was temporary.
func launchDev(dir string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("peapod dev runs real pods, which needs root: start it as root (or with sudo)")
	}
	if dir == "" {
		tmp, err := os.MkdirTemp("", "peapod-dev-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(tmp)
		dir = tmp
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := os.Setenv(devDirVariable, dir); err != nil {
		return err
	}
	return launchAndStop(filepath.Join(dir, "supervisor"))
}

func runDev(c *cobra.Command, o boot.Options) error {
	if o.Bind == "" {
		o.Bind = boot.LocalIP()
	}
	o.PodPidsMax = boot.PodPidsMax
	o.CgroupRoot = fmt.Sprintf("peapod-dev/%d", os.Getpid())
	began := time.Now()
	o.Up = func(kubeconfig string) {
		out := c.OutOrStdout()
		fmt.Fprintf(out, "Peapod is ready after %.1f s.\n\n", time.Since(began).Seconds())
		fmt.Fprintf(out, "  export KUBECONFIG=%s\n\n", kubeconfig)
		fmt.Fprintf(out, "Then try:\n")
		fmt.Fprintf(out, "  kubectl create deployment web --image=peapod/demo --port=8080\n")
		fmt.Fprintf(out, "  kubectl get pods -o wide\n\n")
		fmt.Fprintf(out, "Ctrl-C ends the cluster and leaves nothing behind.\n")
	}
	return bootUntilSignal(c.Context(), o)
}
