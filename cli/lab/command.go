package lab

import "github.com/spf13/cobra"

// Command is `peapod lab`.
func Command() *cobra.Command {
	return &cobra.Command{
		Use:   "lab",
		Short: "Run a cluster of several nodes on this machine, and break it",
	}
}
