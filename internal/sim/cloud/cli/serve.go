package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vappvault/vappvault/internal/sim/cloud"
	"github.com/vappvault/vappvault/internal/sim/record"
)

func serveCommand() *cobra.Command {
	var options cloud.Options
	var inventory, configOut, documents string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a cloud until it is interrupted",
		Long: `Run a cloud until it is interrupted.

Prints one line, "ready" with the addresses of vCDs and vCenters, when all of
them answer. Everything is kept in DIR: serving it again goes on where the last
run ended, with the same addresses as long as they are free. --inventory is for
the first time; later it may be left out, and another one is refused. --fresh
removes what vcdsim keeps in DIR and begins anew.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), options, inventory, configOut, documents)
		},
	}
	cmd.Flags().StringVar(&options.Listen, "listen", "127.0.0.1:0", "address of the first site's vCD; port 0: that of the last run, or any")
	cmd.Flags().StringVar(&options.Dir, "dir", ".vcdsim", "where the cloud and the control socket are kept")
	cmd.Flags().StringVar(&inventory, "inventory", "", "what the cloud holds (default: vcdsim inventory show)")
	cmd.Flags().BoolVar(&options.Fresh, "fresh", false, "remove the cloud that DIR keeps and start a new one")
	cmd.Flags().StringVar(&configOut, "config-out", "", "write a vappvault.yaml that works as it is")
	cmd.Flags().StringVar(&options.VDDKLibrary, "vddk", "", "let that vappvault.yaml use VDDK: the folder of the stub of its library (test/vddk/build.sh)")
	cmd.Flags().StringVar(&options.VDDKPlugin, "vddk-plugin", "", "nbdkit's vddk plugin, by name or path (test/vddk/plugin.sh)")
	cmd.Flags().StringVar(&documents, "record", "", "a folder for one of each shape of the XML documents that cross the wire")
	return cmd
}

func serve(ctx context.Context, out, warnings io.Writer, options cloud.Options, inventory, configOut, documents string) (err error) {
	if inventory != "" {
		if options.Inventory, err = cloud.Load(inventory); err != nil {
			return err
		}
	}
	if documents != "" {
		recorder, err := record.Open(documents)
		if err != nil {
			return err
		}
		options.Recorder = recorder.Exchange
	}
	running, err := cloud.Start(options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, running.Close()) }()
	control, err := running.Control()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, control.Close()) }()
	if configOut != "" {
		if err := running.WriteConfig(configOut); err != nil {
			return err
		}
	}
	for name, former := range running.Moved() {
		if _, err := fmt.Fprintf(warnings, "vcdsim: warning: %s: its address %s is taken: it has another one now\n", name, former); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintln(out, readyLine(running)); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// readyLine names every server: SITE=URL, SITE/VCENTER=URL.
func readyLine(running *cloud.Cloud) string {
	servers := map[string]string{}
	for site, director := range running.Directors() {
		servers[site] = director.URL().String()
	}
	for name, vc := range running.VCenters() {
		servers[name] = vc.URL().String()
	}
	words := []string{"ready"}
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		words = append(words, name+"="+servers[name])
	}
	return strings.Join(words, " ")
}
