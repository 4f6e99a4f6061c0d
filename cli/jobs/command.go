package jobs

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
)

// Command is `peapod job`. Errors that are an *Exit say with which code the process should end.
func Command() *cobra.Command {
	config := genericclioptions.NewConfigFlags(true)
	c := &cobra.Command{
		Use:   "job",
		Short: "Run jobs written in HCL",
		Long: `Run jobs written in HCL: services and batch jobs in Nomad's language, and any Kubernetes object.

A job's objects carry the label peapod.io/job=NAME. Long flags may be written with one dash or two.`,
		Example: `  peapod job init                              # write example.hcl
  peapod job plan web.hcl                      # what would change
  peapod job run web.hcl -var who=peapod       # do it, and follow until all is healthy
  peapod job status web                        # see how it is
  peapod job stop web`,
	}
	config.AddFlags(c.PersistentFlags())
	o := &options{config: config}
	c.AddCommand(initCommand(), validateCommand(o), planCommand(o), runCommand(o), statusCommand(o), inspectCommand(o),
		stopCommand(o), scaleCommand(o), restartCommand(o), logsCommand(o), historyCommand(o), revertCommand(o))
	return c
}

// options are what the flags of all subcommands say.
type options struct {
	config   *genericclioptions.ConfigFlags
	vars     []string
	varFiles []string
}

func (o *options) addVars(f *pflag.FlagSet) {
	f.StringArrayVar(&o.vars, "var", nil, "NAME=VALUE for a variable of the file; may be repeated")
	f.StringArrayVar(&o.varFiles, "var-file", nil, "file of NAME = value lines; may be repeated")
}

// run is what a subcommand does with its arguments.
type run func(c *cobra.Command, args []string) error

// command makes a subcommand that takes long flags with one dash too, as Nomad's users write them.
func command(c *cobra.Command, args cobra.PositionalArgs, do run) *cobra.Command {
	c.DisableFlagParsing = true
	c.SilenceUsage = true
	c.RunE = func(c *cobra.Command, raw []string) error {
		c.DisableFlagParsing = false // ours is done by hand here
		defer func() { c.DisableFlagParsing = true }()
		err := c.ParseFlags(twoDashes(c.Flags(), raw))
		if help, _ := c.Flags().GetBool("help"); help || errors.Is(err, pflag.ErrHelp) {
			return c.Help()
		}
		if err != nil {
			return c.FlagErrorFunc()(c, err)
		}
		if err := args(c, c.Flags().Args()); err != nil {
			return err
		}
		return do(c, c.Flags().Args())
	}
	c.InitDefaultHelpFlag()
	return c
}

// twoDashes gives every -name that is a long flag its second dash.
func twoDashes(flags *pflag.FlagSet, args []string) []string {
	out := make([]string, len(args))
	copy(out, args)
	for i, a := range out {
		if a == "--" {
			break
		}
		if len(a) < 3 || a[0] != '-' || a[1] == '-' {
			continue
		}
		name, _, _ := strings.Cut(a[1:], "=")
		if flags.Lookup(name) != nil {
			out[i] = "-" + a
		}
	}
	return out
}
