package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/config"
	"github.com/vappvault/vappvault/internal/diff"
	"github.com/vappvault/vappvault/internal/wording"
)

// errDiffers ends diff --exit-code where the two states are not the same.
var errDiffers = errors.New("they differ")

func (e *env) diffCommand() *cobra.Command {
	var (
		req    app.DiffRequest
		strict bool
	)
	cmd := &cobra.Command{
		Use:   "diff POINT POINT|live",
		Short: "Say in what two restore points differ, or one and its vApp as it is now",
		Long: `Compares two restore points, or with "live" a restore point and its vApp as it is
now: VMs and disks that came, went, were resized or moved, how many bytes of each
disk differ, and every setting in vCD. Nothing is changed, and no disk is read:
between restore points the sums of their blocks are compared (1 MiB each); what
changed on a disk since a restore point vSphere tells of VMs that are switched
off, if it has tracked changes since. Otherwise it is unknown.

What differs all the time is left out unless --all is given: ids, times, what is
in use, what repeats another document, and vSphere's own view of the VMs. Of
passwords it is only said that they changed.

The exit code is 0 whether there are differences or not; with --exit-code it is 5
where there are, or where something is unknown.`,
		Example: `  vappvault diff web-shop@2026-11-01T00:00 web-shop@latest
  vappvault diff web-shop@latest live
  vappvault diff web-shop@latest live --exit-code -o json | jq '.diff.disks[] | select(.changed != 0)'`,
		Args:              arguments(2, 2, "name a restore point, and another one or live"),
		ValidArgsFunction: e.completeDiff,
		RunE: e.run(func(cmd *cobra.Command, args []string) error {
			req.From, req.To = args[0], args[1]
			refs := args
			if req.To == app.Live {
				refs = args[:1]
			}
			if err := checkPoints(refs); err != nil {
				return err
			}
			var result *diff.Result
			err := e.withApp(cmd.Context(), func(ctx context.Context, a *app.App, _ *config.Config) (err error) {
				result, err = a.Diff(ctx, req)
				return err
			})
			if err != nil {
				return err
			}
			err = e.print("diff", result, func(w io.Writer) { drawDiff(w, result) })
			if err == nil && strict && !result.Same {
				return errDiffers
			}
			return err
		}),
	}
	cmd.Flags().BoolVar(&req.All, "all", false, "show what differs all the time, too")
	cmd.Flags().BoolVar(&strict, "exit-code", false, "end with exit code 5 where anything differs or is unknown")
	return cmd
}

// completeDiff offers the restore points, and behind one of them live.
func (e *env) completeDiff(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	out, directive := e.completePoints(cmd, args, begun)
	if len(args) == 1 {
		out = offer(out, begun, app.Live)
	}
	return out, directive
}

func drawDiff(w io.Writer, r *diff.Result) {
	fmt.Fprintf(w, "from %s\nto   %s\n", stateText(r.From), stateText(r.To))
	if r.Same {
		fmt.Fprintln(w, "no difference")
		return
	}
	var lines []string
	for _, vm := range r.VMs {
		lines = append(lines, clean("vm "+vm.Name+": "+vmText(vm)))
	}
	equal := 0
	for _, d := range r.Disks {
		if !d.Differs() && d.Unknown == "" {
			equal++
			continue
		}
		lines = append(lines, clean("vm "+d.VM+": disk "+d.Disk+": "+diskText(d)))
	}
	for _, f := range r.Fields {
		lines = append(lines, clean(f.Object+": "+fieldText(f)))
	}
	for _, line := range lines {
		fmt.Fprintln(w, line)
	}
	for _, note := range r.Notes {
		fmt.Fprintf(w, "not compared: %s\n", clean(note))
	}
	if equal > 0 {
		fmt.Fprintf(w, "%s without a difference\n", wording.Count(equal, "disk"))
	}
}

func stateText(s diff.State) string {
	if s.Point == "" {
		return clean(s.VApp) + " as it is now"
	}
	return clean(s.VApp) + ", restore point " + s.Point + ", " + stamp(s.Time)
}

func vmText(vm diff.VM) string {
	if vm.Was == "" && vm.Is == "" {
		return vm.Change
	}
	return vm.Change + ": " + vm.Was + " → " + vm.Is
}

// diskText says what became of a disk.
func diskText(d diff.Disk) string {
	switch d.Change {
	case diff.Added:
		return "added, " + wording.Size(d.SizeIs)
	case diff.Removed:
		return "removed, it had " + wording.Size(d.SizeWas)
	}
	text := ""
	say := func(part string) {
		if text != "" {
			text += "; "
		}
		text += part
	}
	if d.Replaced {
		say("another disk in its place")
	}
	if d.SizeWas != d.SizeIs {
		say("resized: " + wording.Size(d.SizeWas) + " → " + wording.Size(d.SizeIs))
	}
	if d.FileWas != d.FileIs {
		say("moved: " + d.FileWas + " → " + d.FileIs)
	}
	switch {
	case d.Changed == nil:
		say("changed bytes unknown: " + d.Unknown)
	case *d.Changed > 0:
		say(wording.Size(*d.Changed) + " of " + wording.Size(d.SizeIs) + " differ")
	}
	return text
}

// shown is how much of a text a table shows.
const shown = 100

func fieldText(f diff.Field) string {
	cut := func(s string) string {
		if r := []rune(s); len(r) > shown {
			return string(r[:shown]) + "…"
		}
		return s
	}
	text, was, is := f.What, cut(f.Was), cut(f.Is)
	switch {
	case f.Change == diff.Added && is != "":
		text += ": added: " + is
	case f.Change == diff.Removed && was != "":
		text += ": removed: " + was
	case f.Change != diff.Changed || was == "" && is == "":
		text += ": " + f.Change
	default:
		text += ": " + was + " → " + is
	}
	if f.Volatile != "" {
		text += " (" + f.Volatile + ")"
	}
	return text
}
