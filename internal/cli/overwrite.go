package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/config"
	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restore"
	"github.com/vappvault/vappvault/internal/selection"
	"github.com/vappvault/vappvault/internal/wording"
)

// undoFlags are those of restore --undo and --resume.
type undoFlags struct{ undo, list, forget, resume bool }

const overwriteLong = `

An overwrite that was interrupted is taken back by reconcile, and by whatever
runs next on that vApp; until then restore --resume goes on with it, and does not
write again what is in its place already. That is for overwrites of whole vApps;
other restores, also of single VMs, are taken back and begun again.

With --overwrite --changed-blocks only the blocks that changed since the restore
point are written, into the disks that are there. What is there goes into a
restore point first, and restore --undo writes it back. Interrupted, disks are
half written: nothing takes that back, the vApp stays in maintenance mode until
restore --resume has finished it, or restore --undo.

With --overwrite --keep-old the disks that are replaced are kept, and what the
vApp was is recorded: until the next overwrite, restore --undo brings that back.
With --keep-old again the undo can be undone, too.`

const overwriteExample = `
  vappvault restore web-shop@latest --overwrite --keep-old --extra-vms remove
  vappvault restore web-shop@latest --overwrite --changed-blocks
  vappvault restore --undo --list
  vappvault restore --undo acme/vdc1/web-shop
  vappvault restore --undo --forget web-shop
  vappvault restore --resume web-shop`

// withOverwrite gives the restore command the flags of an overwrite, and what
// becomes of it afterwards: then the argument names a vApp or a run.
func (e *env) withOverwrite(cmd *cobra.Command, req *app.RestoreRequest) {
	u := overwriteFlags(cmd, req)
	cmd.Long += overwriteLong
	cmd.Example += overwriteExample
	args, run := cmd.Args, cmd.RunE
	cmd.Args = func(cmd *cobra.Command, words []string) error {
		switch {
		case u.resume, u.undo && u.list:
			return arguments(0, 1, "")(cmd, words)
		case u.undo:
			return arguments(1, 1, "name a vApp, or a run from --undo --list")(cmd, words)
		}
		return args(cmd, words)
	}
	cmd.RunE = e.run(func(cmd *cobra.Command, words []string) error {
		if err := u.check(*req, words); err != nil {
			return err
		}
		switch {
		case u.undo:
			return e.undo(cmd.Context(), *u, strings.Join(words, ""), *req)
		case u.resume:
			if err := resumesAlone(cmd, words); err != nil {
				return err
			}
			return e.resume(cmd.Context(), strings.Join(words, ""))
		}
		return run(cmd, words)
	})
}

// overwriteFlags are the flags of withOverwrite.
func overwriteFlags(cmd *cobra.Command, req *app.RestoreRequest) *undoFlags {
	u, flags := new(undoFlags), cmd.Flags()
	flags.StringVar(&req.ExtraVMs, "extra-vms", "", "with --overwrite, VMs that were added since, `keep|remove` (default keep)")
	flags.StringVar(&req.ExtraDisks, "extra-disks", "", "with --overwrite, disks that were added since, `keep|remove` (default keep)")
	flags.BoolVar(&req.DiscardSnapshots, "discard-snapshots", false, "remove the tenant's snapshots from VMs that are overwritten")
	flags.BoolVar(&req.ChangedBlocks, "changed-blocks", false, "with --overwrite, write only what differs, into the disks that are there (needs vddk); a restore point is made before")
	flags.BoolVar(&req.NoSafetyPoint, "no-safety-point", false, "with --changed-blocks, make no restore point of what is there: there is no undo then")
	flags.BoolVar(&u.undo, "undo", false, "take back an overwrite with --keep-old or --changed-blocks, by its vApp or its run")
	flags.BoolVar(&u.list, "list", false, "with --undo, list what can be undone")
	flags.BoolVar(&u.forget, "forget", false, "with --undo, delete what was kept instead")
	flags.StringVar(&req.OnError, "on-error", "", "with --overwrite, what becomes of it when it fails, `back|keep`: taken back, or left for --resume (default back)")
	flags.BoolVar(&u.resume, "resume", false, "go on with an interrupted overwrite, by its vApp or its run")
	_ = cmd.RegisterFlagCompletionFunc("on-error", cobra.FixedCompletions([]string{plan.OnErrorBack, plan.OnErrorKeep}, cobra.ShellCompDirectiveNoFileComp))
	for _, name := range []string{"extra-vms", "extra-disks"} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions([]string{plan.ExtraKeep, plan.ExtraRemove}, cobra.ShellCompDirectiveNoFileComp))
	}
	return u
}

// check refuses flags that do not go together.
func (u *undoFlags) check(req app.RestoreRequest, words []string) error {
	switch {
	case u.undo && u.resume:
		return usagef("--undo and --resume exclude each other")
	case u.undo && u.list && u.forget:
		return usagef("--list and --forget exclude each other")
	case u.undo && (req.Overwrite || req.As != ""):
		return usagef("--undo goes with neither --overwrite nor --as")
	case u.undo:
		return checkOverwrite(req, true)
	case u.resume: // see resumesAlone
		return nil
	case u.list || u.forget:
		return usagef("--list and --forget go with --undo")
	}
	named := slices.ContainsFunc(words, func(word string) bool {
		_, vm, err := selection.SplitVM(word)
		return err == nil && vm != ""
	})
	return checkOverwrite(req, req.Overwrite || named || len(req.VMs) > 0 || len(req.Disks) > 0)
}

// resumesAlone refuses what a resume would not heed: it does what was begun.
func resumesAlone(cmd *cobra.Command, words []string) error {
	var others []string
	cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if f.Changed && f.Name != "resume" {
			others = append(others, "--"+f.Name)
		}
	})
	if len(others) > 0 {
		return usagef("--resume goes on as the overwrite was begun, and takes no other options: not %s", strings.Join(others, ", "))
	}
	for _, word := range words {
		if strings.Count(word, "/") == 3 { // ORG/VDC/VAPP/VM
			return usagef("--resume goes on with a whole vApp: name it without a VM")
		}
	}
	return nil
}

func checkOverwrite(req app.RestoreRequest, overwrites bool) error {
	for name, value := range map[string]string{"extra-vms": req.ExtraVMs, "extra-disks": req.ExtraDisks} {
		if value == "" {
			continue
		}
		if err := oneOf(name, value, plan.ExtraKeep, plan.ExtraRemove); err != nil {
			return err
		}
		if !overwrites {
			return usagef("--%s goes with --overwrite", name)
		}
	}
	if req.OnError != "" {
		if err := oneOf("on-error", req.OnError, plan.OnErrorBack, plan.OnErrorKeep); err != nil {
			return err
		}
		if !req.Overwrite {
			return usagef("--on-error goes with --overwrite")
		}
	}
	if req.ChangedBlocks && !req.Overwrite {
		return usagef("--changed-blocks goes with --overwrite")
	}
	if req.NoSafetyPoint && !req.ChangedBlocks {
		return usagef("--no-safety-point goes with --changed-blocks")
	}
	if req.ChangedBlocks && req.KeepOld {
		return usagef("--changed-blocks and --keep-old exclude each other: no disk is replaced that could be kept")
	}
	if req.DiscardSnapshots && !overwrites {
		return usagef("--discard-snapshots goes with --overwrite")
	}
	return nil
}

func (e *env) undo(ctx context.Context, u undoFlags, which string, req app.RestoreRequest) error {
	switch {
	case u.list:
		return e.listKept(ctx, which)
	case u.forget:
		return e.forgetKept(ctx, which)
	}
	var result *restore.Result
	err := e.withApp(ctx, func(ctx context.Context, a *app.App, _ *config.Config) (err error) {
		q := app.UndoRequest{Which: which, DryRun: req.DryRun, Options: req.Options}
		if !q.DryRun {
			q.Planned = e.showPlan
		}
		result, err = a.Undo(ctx, q)
		return err
	})
	switch {
	case result == nil || result.Plan == nil:
		return err
	case req.DryRun:
		return errors.Join(err, e.print("plan", result.Plan, func(w io.Writer) { drawPlan(w, result.Plan) }))
	case err != nil && !errors.Is(err, app.ErrPartial):
		return err
	}
	return errors.Join(err, e.print("restore", result, func(w io.Writer) { drawRestore(w, result) }))
}

func (e *env) resume(ctx context.Context, which string) error {
	var result *restore.Result
	err := e.withApp(ctx, func(ctx context.Context, a *app.App, _ *config.Config) (err error) {
		result, err = a.Resume(ctx, which, e.showPlan)
		return err
	})
	if result == nil || err != nil && !errors.Is(err, app.ErrPartial) {
		return err
	}
	return errors.Join(err, e.print("restore", result, func(w io.Writer) { drawRestore(w, result) }))
}

func (e *env) listKept(ctx context.Context, which string) error {
	var list []restore.Kept
	err := e.withApp(ctx, func(ctx context.Context, a *app.App, _ *config.Config) (err error) {
		list, err = a.Undoable(ctx, which)
		return err
	})
	if err != nil {
		return err
	}
	if list == nil {
		list = []restore.Kept{}
	}
	return e.print("kept", list, func(w io.Writer) { drawKept(w, list) })
}

func drawKept(w io.Writer, list []restore.Kept) {
	if len(list) == 0 {
		fmt.Fprintln(w, "nothing can be undone")
		return
	}
	row(w, "RUN", "WHEN", "VAPP", "OVERWRITTEN WITH", "UNDONE WITH")
	for _, k := range list {
		row(w, k.Run, k.Made.Format(time.RFC3339), app.KeptPath(k), k.Point, undoneWith(k))
	}
}

// undoneWith says what holds the former state: disks that were kept, or the
// safety point that was made before blocks were written into the disks.
func undoneWith(k restore.Kept) string {
	if k.Safety != "" {
		return "restore point " + k.Safety
	}
	disks, size := 0, int64(0)
	for _, vm := range k.VMs {
		for _, d := range vm.Files.Old {
			disks, size = disks+1, size+d.Capacity
		}
	}
	return fmt.Sprintf("%s of %s, up to %s", wording.Count(disks, "disk"), wording.Count(len(k.VMs), "VM"), wording.Size(size))
}

func (e *env) forgetKept(ctx context.Context, which string) error {
	var kept *restore.Kept
	var left []string
	err := e.withApp(ctx, func(ctx context.Context, a *app.App, _ *config.Config) (err error) {
		kept, left, err = a.ForgetKept(ctx, which)
		return err
	})
	if err != nil {
		return err
	}
	if left == nil {
		left = []string{}
	}
	return e.print("forgotten", map[string]any{"run": kept.Run, "left": left}, func(w io.Writer) {
		fmt.Fprintf(w, "run %s cannot be undone any more; the disks that it kept are deleted\n", kept.Run)
		for _, f := range left {
			fmt.Fprintf(w, "note: %s is left, because something refers to it\n", clean(f))
		}
	})
}
