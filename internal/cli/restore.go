package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/config"
	"github.com/vappvault/vappvault/internal/document"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restore"
	"github.com/vappvault/vappvault/internal/wording"
)

const (
	restoreHelp = `Restores the vApp of a restore point. What will be done is planned first and
printed; a plan with a conflict that needs a decision changes nothing and ends
with exit code 5.

Without --overwrite or --as the vApp must be gone: it is rebuilt, with its
networks, owner, rights, leases, metadata and addresses. With --overwrite the
vApp that is there is brought back and keeps its identity; with --as a copy of
another name is made beside it.

With --vm only that VM comes back, into the vApp that is there, whose other VMs
run on: in place of the present one, or with --beside as a further one. The VM
can stand in the reference as well: acme/vdc1/web-shop/db01@latest. With --disk
only that disk does, in its place, or with --attach-to as a further disk of a VM.
With --to-vsphere the VMs are made in a folder of vSphere, and vCD is left alone.
With --config-only no disk is touched: the documents come back, or those sections
of them that are named, and a VM is switched off only where vCD wants it so.

Several references, or one with a glob, restore many vApps: each from its newest
restore point at that time, all of them planned before the first is touched. One
that is refused or fails does not stop the others. With --overwrite those that
are gone are rebuilt.

What no longer fits the cloud is a conflict. Most have a safe resolution, which
is shown and applied; each names the flag that decides otherwise. Names in flags
are percent-encoded where they hold = or %, as in selectors. --plan applies what
--dry-run --plan-out saved, and refuses when the cloud has changed since in a way
that matters.

Afterwards the vApp is read back and compared with the restore point. What
differs is listed, with the reason where there is one.`

	restoreExamples = `  vappvault restore web-shop@latest --dry-run
  vappvault restore acme/vdc1/web-shop@2026-11-22T08:00
  vappvault restore web-shop@latest --overwrite --power-on
  vappvault restore acme/vdc1/web-shop/db01@latest --power on
  vappvault restore web-shop@latest --vm db01 --beside
  vappvault restore web-shop@latest --to-vsphere restored/today
  vappvault restore web-shop@latest --id-map ids.json --terraform imports.tf
  vappvault restore web-shop@latest --config-only=networks,access,metadata
  vappvault restore 'acme/*@latest' 'bolt/vdc1/web-*@2026-11-22T08:00' --dry-run
  vappvault restore web-shop@latest --vdc acme/vdc2 --network lan=lan2 --storage-profile fast
  vappvault restore web-shop@latest --dry-run --plan-out plan.json
  vappvault restore --plan plan.json
  vappvault restore 01KAZ8M5H2W4Q6T8V0X2Z4B6D8 --as web-shop-copy`
)

func (e *env) restoreCommand() *cobra.Command {
	var req app.RestoreRequest
	var overrides *planFlags
	var ids idFiles
	cmd := &cobra.Command{
		Use:               "restore {POINT… | --plan FILE}",
		Short:             "Restore a vApp from a restore point",
		Long:              restoreHelp,
		Example:           restoreExamples,
		Args:              arguments(0, math.MaxInt, "name a restore point"),
		ValidArgsFunction: e.completePoints,
		RunE: e.run(func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				req.Point = args[0]
			}
			if err := overrides.apply(cmd, &req); err != nil {
				return err
			}
			if req.As == "" && cmd.Flags().Changed("as") {
				return usagef("--as wants a name")
			}
			if err := ids.check(req); err != nil {
				return err
			}
			if len(args) > 0 && app.ManyPoints(args) {
				if overrides.planOut != "" || overrides.planIn != "" {
					return usagef("--plan and --plan-out are for one vApp")
				}
				return e.restoreMany(cmd.Context(), args, req, &ids)
			}
			if err := checkRestore(req); err != nil {
				return err
			}
			return e.restore(cmd.Context(), req, overrides, &ids)
		}),
	}
	flags := cmd.Flags()
	flags.BoolVar(&req.Overwrite, "overwrite", false, "bring back the vApp that is there")
	flags.StringVar(&req.As, "as", "", "restore to a new vApp of this `name`")
	overrides = overrideFlags(cmd)
	flags.BoolVar(&req.KeepOld, "keep-old", false, "keep the disks that --overwrite replaces")
	kindFlags(flags, &req)
	ids.flags(flags)
	flags.BoolVar(&req.DryRun, "dry-run", false, "print the plan, change nothing")
	flags.StringVar(&req.Power, "power", plan.PowerOff, "what runs afterwards, `off|on|as-was`: nothing, all, what ran when the point was made")
	flags.BoolFunc("power-on", "short for --power on", func(string) error { req.Power = plan.PowerOn; return nil })
	e.withOverwrite(cmd, &req)
	return cmd
}

func checkRestore(req app.RestoreRequest) error {
	if err := checkKinds(req); err != nil {
		return err
	}
	switch {
	case req.Overwrite && req.As != "":
		return usagef("--overwrite and --as exclude each other")
	case req.KeepOld && !req.Overwrite && len(req.VMs) == 0 && len(req.Disks) == 0:
		return usagef("--keep-old goes with --overwrite, --vm or --disk")
	}
	if req.Power != "" {
		return oneOf("power", req.Power, plan.PowerOff, plan.PowerOn, plan.PowerAsWas)
	}
	return nil
}

// restore prints the plan, on standard error unless it is all that is asked
// for, and applies it.
func (e *env) restore(ctx context.Context, req app.RestoreRequest, overrides *planFlags, ids *idFiles) error {
	var planned, result *restore.Result
	err := e.withApp(ctx, func(ctx context.Context, a *app.App, _ *config.Config) (err error) {
		if req.DryRun {
			planned, err = a.Restore(ctx, req)
			return err
		}
		req.Planned = e.showPlan
		result, err = a.Restore(ctx, req)
		return err
	})
	switch {
	case req.DryRun && planned != nil && planned.Plan != nil:
		if perr := e.print("plan", planned.Plan, func(w io.Writer) { drawPlan(w, planned.Plan) }); err == nil {
			err = perr
		}
		return errors.Join(err, overrides.save(planned.Plan))
	case result == nil || err != nil && !errors.Is(err, app.ErrPartial):
		return err
	}
	err = errors.Join(err, ids.write(result))
	if perr := e.print("restore", result, func(w io.Writer) { drawRestore(w, result) }); err == nil {
		err = perr
	}
	return err
}

func drawRestore(w io.Writer, r *restore.Result) {
	if r.VAppID == "" {
		fmt.Fprintf(w, "made the VMs of vApp %s in vSphere\n", clean(r.VAppName))
	} else {
		fmt.Fprintf(w, "restored vApp %s (%s)\n", clean(r.VAppName), clean(r.VAppID))
	}
	row(w, "VM", "ACTION", "DISKS", "WRITTEN", "ID", "WAS", "MOREF", "WAS")
	for _, vm := range r.VMs {
		written := wording.Size(vm.Bytes)
		if vm.Transport != "" {
			written += " by " + vm.Transport
		}
		row(w, vm.Name, vm.Action, strconv.Itoa(vm.Disks), written, vm.NewID, vm.OldID, vm.NewMoRef, vm.OldMoRef)
	}
	flush(w)
	for _, warning := range r.Warnings {
		fmt.Fprintf(w, "note: %s\n", clean(warning))
	}
	if r.Compared > 0 {
		fmt.Fprintf(w, "compared %s with the restore point: %s\n",
			wording.Count(r.Compared, "document"), wording.Count(len(r.Unexplained()), "unexplained difference"))
	}
	for _, d := range r.Unexplained() {
		fmt.Fprintf(w, "  %s\n", clean(fmt.Sprintf("%s: %s: was %q, is %q", d.Document, d.Field, d.Want, d.Got)))
	}
	drawExplained(w, r.Differences)
}

// drawExplained counts the differences that are as they must be, by reason;
// each of them stands in the JSON.
func drawExplained(w io.Writer, differences []document.Difference) {
	var reasons []string
	counts := map[string]int{}
	for _, d := range differences {
		if d.Reason == "" {
			continue
		}
		if counts[d.Reason] == 0 {
			reasons = append(reasons, d.Reason)
		}
		counts[d.Reason]++
	}
	for i, reason := range reasons {
		if i == 0 {
			fmt.Fprintln(w, "differs, and why (-o json lists each):")
		}
		fmt.Fprintf(w, "  %3d  %s\n", counts[reason], clean(reason))
	}
}
