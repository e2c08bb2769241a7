// Package cli is the command line of vcdsim.
//
// It promises that `serve` prints one line, and only when everything answers,
// and that the other commands act on the cloud that runs in a directory. It
// keeps nothing of its own.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/vappvault/vappvault/internal/sim/cloud"
)

// Main runs a command and returns the exit code: 0 done, 1 error, 2 usage.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	_, _ = fmt.Fprintln(os.Stderr, "vcdsim:", err)
	var usage usageError
	switch {
	case errors.As(err, &usage):
		return 2
	case errors.Is(err, cloud.ErrAnotherCloud):
		_, _ = fmt.Fprintln(os.Stderr, "Go on with it without --inventory, or remove it and start anew with --fresh")
	case errors.Is(err, cloud.ErrState):
		_, _ = fmt.Fprintln(os.Stderr, "Remove what is kept and start anew with --fresh")
	case errors.Is(err, cloud.ErrNotRunning):
		_, _ = fmt.Fprintln(os.Stderr, "Start one with: vcdsim serve --dir DIR")
	}
	return 1
}

// A usageError is a command line that makes no sense.
type usageError struct{ error }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "vcdsim",
		Short:         "A simulated VMware Cloud Director",
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("vcdsim {{.Version}}\n")
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(serveCommand(), inventoryCommand(), vmsCommand(),
		guestCommand(),
		powerCommand(), deleteCommand(), scrubCommand(),
		timeCommand(), vmotionCommand(), answerCommand(), datastoreCommand(),
		faultCommand(), callsCommand())
	return root
}

// release is set by the linker; see the Makefile.
var release string

// version is the linker's, else that of the module, else the commit.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

// flagError explains a negative number, which looks like a flag.
func flagError(cmd *cobra.Command, err error) error {
	if _, arg, is := strings.Cut(err.Error(), " in -"); is && arg != "" && arg[0] >= '0' && arg[0] <= '9' {
		return usageError{fmt.Errorf("%s: -%s: a number cannot be negative here", cmd.CommandPath(), arg)}
	}
	return usageError{fmt.Errorf("%s: %w", cmd.CommandPath(), err)}
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s: unknown command or argument %q", cmd.CommandPath(), args[0])}
	}
	return nil
}

// wants checks the number of arguments and says which ones they are.
func wants(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != len(names) {
			return usageError{fmt.Errorf("%s: want %q, got %q", cmd.CommandPath(), names, args)}
		}
		return nil
	}
}

// group is a command that has only commands of its own.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	var names []string
	for _, c := range commands {
		names = append(names, c.Name())
	}
	one := strings.Join(names, ", ")
	cmd := &cobra.Command{Use: use, Short: short,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("%s: unknown command %q: want one of %s", cmd.CommandPath(), args[0], one)}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usageError{fmt.Errorf("%s: which command? One of %s; see %s --help", cmd.CommandPath(), one, cmd.CommandPath())}
		}}
	cmd.AddCommand(commands...)
	return cmd
}

// dirFlag adds --dir to a command that acts on a running cloud.
func dirFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("dir", ".vcdsim", "the running cloud's directory")
}

func scrubCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scrub",
		Short: "Overwrite and remove datastore files that no VM refers to and vCD does not list",
		Args:  noArgs,
	}
	dir := dirFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		files, err := cloud.NewClient(*dir).Scrub(cmd.Context())
		if err != nil {
			return err
		}
		for _, file := range files {
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), file); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

func deleteCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delete-vapp ORG/VDC/VAPP",
		Short: "Undeploy and delete a vApp, as an administrator of vCD would",
		Args:  wants("ORG/VDC/VAPP"),
	}
	dir := dirFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return cloud.NewClient(*dir).DeleteVApp(cmd.Context(), args[0])
	}
	return cmd
}

func vmsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "vms", Short: "List the VMs: path, vCenter, moref", Args: noArgs}
	dir := dirFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		vms, err := cloud.NewClient(*dir).VMs(cmd.Context())
		if err != nil {
			return err
		}
		for _, vm := range vms {
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\t%s\t%s\n", vm.Path, vm.VCenter, vm.MoRef); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

func powerCommand() *cobra.Command {
	state := func(use, short, word string) *cobra.Command {
		cmd := &cobra.Command{Use: use + " VM", Short: short, Args: wants("VM")}
		dir := dirFlag(cmd)
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			return cloud.NewClient(*dir).Power(cmd.Context(), args[0], word)
		}
		return cmd
	}
	return group("power", "Switch a VM on or off, as a user of vCD would",
		state("on", "Power a VM on", "on"),
		state("off", "Power a VM off and undeploy it", "off"),
		state("suspend", "Suspend a VM", "suspended"))
}

func inventoryCommand() *cobra.Command {
	show := &cobra.Command{
		Use: "show", Short: "Print the default inventory", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(cloud.DefaultYAML())
			return err
		},
	}
	check := &cobra.Command{
		Use: "check FILE", Short: "Check an inventory", Args: wants("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			_, err := cloud.Load(args[0])
			return shortened(err)
		},
	}
	return group("inventory", "The inventory that a cloud is made from", show, check, generateCommand())
}

// shortened is an error of many lines, of which the first are enough.
func shortened(err error) error {
	const most = 50
	if err == nil {
		return nil
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) <= most {
		return err
	}
	return fmt.Errorf("%s\nand %d more", strings.Join(lines[:most], "\n"), len(lines)-most)
}

func generateCommand() *cobra.Command {
	var g cloud.Generation
	disk, fill := "16MiB", "0"
	cmd := &cobra.Command{
		Use: "generate", Short: "Print a made-up inventory of any size", Args: noArgs,
		Long: `Print a made-up inventory of any size, the same for the same flags.

It has what large installations have: names with spaces and in other scripts,
large and small orgs, all kinds of networks, leases, metadata, standalone VMs.
Disks are thin: they take no space before somebody writes to them.`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if g.Disk, err = cloud.ParseSize(disk); err != nil {
				return usageError{fmt.Errorf("--disk: %w", err)}
			}
			if g.Fill, err = cloud.ParseSize(fill); err != nil {
				return usageError{fmt.Errorf("--fill: %w", err)}
			}
			if err := cloud.Generate(cmd.OutOrStdout(), g); err != nil {
				return usageError{err}
			}
			return nil
		},
	}
	cmd.Flags().IntVar(&g.Orgs, "orgs", 200, "organizations")
	cmd.Flags().IntVar(&g.VApps, "vapps", 10000, "vApps, besides those of standalone VMs")
	cmd.Flags().IntVar(&g.VMs, "vms", 30000, "VMs, standalone ones among them")
	cmd.Flags().IntVar(&g.VCenters, "vcenters", 0, "vCenters (default: one for every 15000 VMs)")
	cmd.Flags().Uint64Var(&g.Seed, "seed", 1, "another number makes another cloud")
	cmd.Flags().StringVar(&disk, "disk", disk, "size of the smallest disk; others are up to eight times as large")
	cmd.Flags().StringVar(&fill, "fill", fill, "content of each disk, in pieces spread over it")
	return cmd
}
