package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/plugin"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"github.com/peapod-sh/peapod/cli/hcl"
	"github.com/peapod-sh/peapod/cli/jobs"
	"github.com/peapod-sh/peapod/cli/lab"
	"github.com/peapod-sh/peapod/internal/version"
)

const long = `Peapod turns a handful of machines into a Kubernetes-compatible cluster, with one binary.

Start:
  peapod dev                 one process that is a whole cluster, gone when it ends
  peapod lab up              three servers and three clients on this machine, with real networks
  peapod agent --server      the first server of a real cluster; see 'peapod agent --help'

All of kubectl's commands are here too: peapod get pods, peapod apply -f web.yaml. They also read
.hcl files.`

// Main runs the command line and returns the exit code.
func Main(args []string) int {
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	args, cleanup, err := hcl.Translate(args)
	defer cleanup()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	root := newRoot(streams, args)
	root.SetArgs(args[1:])
	// kubectl's commands end the process themselves when they fail; the temporary files must go first.
	cmdutil.BehaviorOnFatal(func(message string, code int) {
		cleanup()
		if message != "" {
			fmt.Fprint(os.Stderr, withNewline(message))
		}
		os.Exit(code)
	})
	if command, err := root.ExecuteC(); err != nil {
		if text := err.Error(); text != "" {
			fmt.Fprint(os.Stderr, withNewline("error: "+strings.TrimPrefix(text, "error: ")+seeHelp(command, text)))
		}
		return exitCode(err)
	}
	return 0
}

// seeHelp points to the help of a command that was given other arguments than it takes.
func seeHelp(c *cobra.Command, text string) string {
	for _, start := range []string{"unknown command ", "requires ", "accepts "} { // cobra's own words
		if strings.HasPrefix(text, start) {
			return fmt.Sprintf("\nSee '%s --help' for usage.", c.CommandPath())
		}
	}
	return ""
}

func withNewline(s string) string { return strings.TrimRight(s, "\n") + "\n" }

// codedError carries an exit code of its own.
type codedError struct {
	error
	code int
}

// ExitCode of the process.
func (e codedError) ExitCode() int { return e.code }

// exitCode is the one that the error brings, or 1.
func exitCode(err error) int {
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		return coded.ExitCode()
	}
	return 1
}

// newRoot is kubectl's tree with our name and commands.
func newRoot(streams genericiooptions.IOStreams, args []string) *cobra.Command {
	defaultKubeconfig()
	root := cmd.NewKubectlCommand(cmd.KubectlOptions{
		PluginHandler: cmd.NewDefaultPluginHandler(plugin.ValidPluginFilenamePrefixes),
		Arguments:     args,
		ConfigFlags:   genericclioptions.NewConfigFlags(true).WithDeprecatedPasswordFlag().WithDiscoveryBurst(300).WithDiscoveryQPS(50).WithWarningPrinter(streams),
		IOStreams:     streams,
	})
	root.Use, root.Short, root.Long = "peapod", "A Kubernetes-compatible cluster in one binary", long
	root.SilenceErrors, root.SilenceUsage = true, true
	helpOurWay(root)
	root.SetHelpTemplate("{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}\n{{end}}{{if or .Runnable .HasSubCommands}}{{.UsageString}}{{end}}")
	replace(root, versionCommand())
	own := []*cobra.Command{agentCommand(), devCommand(), lab.Command(), jobs.Command(), imageCommand(), tokenCommand(), kubeconfigCommand(), serviceCommand(), operatorCommand(), doctorCommand()}
	root.AddGroup(&cobra.Group{ID: groupOwn, Title: "Peapod's commands:"}, &cobra.Group{ID: groupKubectl, Title: "kubectl's commands:"})
	for _, c := range root.Commands() {
		switch c.Name() {
		case "completion":
			describeCompletion(c)
			c.GroupID = groupOwn
		case "version":
			c.GroupID = groupOwn
		default:
			c.GroupID = groupKubectl
		}
	}
	for _, c := range own {
		c.GroupID = groupOwn
		c.SilenceUsage = true
		root.AddCommand(c)
	}
	root.InitDefaultHelpCmd()
	root.SetHelpCommandGroupID(groupKubectl)
	return root
}

// helpOurWay leaves kubectl's commands the help that kubectl gives them, and gives ours to the rest: call it
// before our commands are added.
func helpOurWay(root *cobra.Command) {
	help, usage := root.HelpFunc(), root.UsageFunc()
	for _, c := range root.Commands() {
		c.SetHelpFunc(help)
		c.SetUsageFunc(usage)
	}
	root.SetHelpFunc(nil)
	root.SetUsageFunc(nil)
	cobra.AddTemplateFunc("ownFlags", ownFlags)
	root.SetUsageTemplate(usageTemplate)
}

// describeCompletion puts our own words in the place of kubectl's, which speak of kubectl's files.
func describeCompletion(c *cobra.Command) {
	c.Short = "Print the code that completes commands in bash, zsh, fish or powershell"
	c.Long = "Print the code by which a shell completes peapod's commands, flags and names: bash, zsh, fish or powershell."
	c.Example = `  source <(peapod completion bash)                                        # this shell
  peapod completion bash > /etc/bash_completion.d/peapod                  # every bash
  peapod completion zsh > "${fpath[1]}/_peapod"                           # every zsh
  peapod completion fish > ~/.config/fish/completions/peapod.fish         # every fish`
	c.SetHelpFunc(nil)
	c.SetUsageFunc(nil)
}

// ownFlags are the flags of a command and of those above it, without kubectl's, which the root has.
func ownFlags(c *cobra.Command) string {
	if !c.HasParent() {
		return ""
	}
	own := pflag.NewFlagSet(c.Name(), pflag.ContinueOnError)
	c.Flags().VisitAll(func(f *pflag.Flag) {
		// By its words, since a command may have kubectl's flags a second time, and own ones of the same names.
		if known := c.Root().PersistentFlags().Lookup(f.Name); known == nil || known.Usage != f.Usage {
			own.AddFlag(f)
		}
	})
	return own.FlagUsages()
}

const (
	groupOwn     = "peapod"
	groupKubectl = "kubectl"
)

const usageTemplate = `
Usage:{{if and .Runnable .HasParent}}
  {{.UseLine}}{{end}}{{if .HasAvailableSubCommands}}
  {{.CommandPath}} COMMAND{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{if .HasAvailableSubCommands}}{{$cmds := .Commands}}{{if eq (len .Groups) 0}}

Commands:{{range $cmds}}{{if or .IsAvailableCommand (eq .Name "help")}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{else}}{{range $group := .Groups}}

{{.Title}}{{range $cmds}}{{if and (eq .GroupID $group.ID) (or .IsAvailableCommand (eq .Name "help"))}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{end}}{{end}}{{with ownFlags .}}

Options:
{{. | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableSubCommands}}

'{{.CommandPath}} COMMAND --help' says more about a command.{{if not .HasParent}}
'{{.CommandPath}} options' lists the options that all of kubectl's commands and 'job' take.{{end}}{{end}}
`

// replace puts a command in the place of one of the same name.
func replace(root, with *cobra.Command) {
	for _, c := range root.Commands() {
		if c.Name() == with.Name() {
			root.RemoveCommand(c)
		}
	}
	root.AddCommand(with)
}

// kubeconfigs are where the commands look if neither --kubeconfig, KUBECONFIG nor ~/.kube/config is there.
var kubeconfigs = []string{"/var/lib/peapod/kubeconfig"}

func defaultKubeconfig() {
	if os.Getenv("KUBECONFIG") != "" {
		return
	}
	if home, err := os.UserHomeDir(); err == nil {
		if _, err := os.Stat(home + "/.kube/config"); err == nil {
			return
		}
	}
	for _, path := range kubeconfigs {
		if f, err := os.Open(path); err == nil {
			f.Close()
			_ = os.Setenv("KUBECONFIG", path)
			return
		}
	}
}

func versionCommand() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs, Run: func(c *cobra.Command, _ []string) {
		fmt.Fprintln(c.OutOrStdout(), version.String())
	}}
}
