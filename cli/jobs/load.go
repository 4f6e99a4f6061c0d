package jobs

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/peapod-sh/peapod/jobspecs"
)

// load reads a job file; "-" is HCL from the standard input.
func (o *options) load(c *cobra.Command, file string) (*jobspecs.Spec, error) {
	vars := jobspecs.Vars{Environ: os.Environ(), Values: o.vars}
	for _, name := range o.varFiles {
		src, err := os.ReadFile(name) // #nosec G304 -- the user names it
		if err != nil {
			return nil, fmt.Errorf("reading -var-file: %w", err)
		}
		vars.Files = append(vars.Files, jobspecs.VarFile{Name: name, Source: src})
	}
	var src []byte
	var err error
	if file == "-" {
		file = "stdin.hcl"
		src, err = io.ReadAll(c.InOrStdin())
	} else {
		src, err = os.ReadFile(file) // #nosec G304 -- the user names it
	}
	if err != nil {
		return nil, fmt.Errorf("reading the job file: %w", err)
	}
	spec, err := jobspecs.Parse(file, src, vars)
	if err != nil {
		return nil, err
	}
	for _, w := range spec.Warnings {
		c.PrintErrln("Warning: " + w)
	}
	return spec, nil
}

// loadJobs reads a file that must have a job in it.
func (o *options) loadJobs(c *cobra.Command, file string) (*jobspecs.Spec, error) {
	spec, err := o.load(c, file)
	if err == nil && len(spec.Jobs) == 0 {
		return nil, fmt.Errorf("%s has no job block: use `peapod apply -f %s` for objects alone", file, file)
	}
	return spec, err
}

func validateCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:     "validate FILE",
		Short:   "Show every fault of a job file, without a cluster",
		Example: `  peapod job validate web.hcl`,
	}
	o.addVars(c.Flags())
	return command(c, cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		spec, err := o.load(c, args[0])
		if err != nil {
			return err
		}
		fmt.Fprintf(c.OutOrStdout(), "%s is valid: %d jobs, %d objects\n", args[0], len(spec.Jobs), len(spec.Objects))
		return nil
	})
}
