package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/config"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/selection"
	"github.com/vappvault/vappvault/internal/wording"
)

func (e *env) showCommand() *cobra.Command {
	var document string
	cmd := &cobra.Command{
		Use:   "show POINT",
		Short: "Show what a restore point holds",
		Long: `Shows what a restore point holds. Where POINT names VMs, as in
acme/vdc1/web-shop/db01@latest, it is the newest point that holds one of them,
and what is about its other VMs is left out.`,
		Example: `  vappvault show web-shop@latest
  vappvault show web-shop@latest --document vcd/vapp.xml
  vappvault show web-shop@2026-11-22T08:00 -o json | jq '.point.vms[].disks[].content.treeHash'`,
		Args:              arguments(1, 1, "name a restore point"),
		ValidArgsFunction: e.completePoints,
		RunE: e.run(func(cmd *cobra.Command, args []string) error {
			check := checkVMPoints
			if document != "" {
				check = checkPoints
			}
			if err := check(args); err != nil {
				return err
			}
			if document != "" {
				return e.showDocument(cmd.Context(), args[0], document)
			}
			var point *restorepoint.Point
			err := e.withApp(cmd.Context(), func(ctx context.Context, a *app.App, _ *config.Config) (err error) {
				point, err = a.Point(ctx, args[0])
				return err
			})
			if err != nil {
				return err
			}
			return e.print("point", point, func(w io.Writer) { drawPoint(w, point) })
		}),
	}
	cmd.Flags().StringVar(&document, "document", "", "print the document of this `path` as it was captured")
	return cmd
}

func (e *env) showDocument(ctx context.Context, ref, path string) error {
	var raw []byte
	err := e.withApp(ctx, func(ctx context.Context, a *app.App, _ *config.Config) (err error) {
		raw, err = a.Document(ctx, ref, path)
		return err
	})
	if err != nil {
		return err
	}
	if e.output == "json" {
		return e.print("document", map[string]string{"path": path, "content": string(raw)}, nil)
	}
	if _, err := e.stdout.Write(raw); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return nil
}

func drawPoint(w io.Writer, p *restorepoint.Point) {
	a := amounts(p)
	field := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\n", name, clean(fmt.Sprintf(format, args...)))
	}
	field("point", "%s", p.ID)
	field("vApp", "%s (%s)", selection.Format(p.Org.Label(), p.VDC.Label(), p.VApp.Name, ""), p.VApp.ID)
	if kind := p.Kind(); kind != restorepoint.NatureVApp {
		field("nature", "%s", natureText(kind))
	}
	field("site", "%s", p.Site.ID)
	field("state", "%s", p.State)
	field("taken", "%s to %s", stamp(p.Started), stamp(p.Finished))
	if !p.SnapshotFirst.IsZero() {
		field("frozen", "%s, skew %s", stamp(p.SnapshotFirst), took(p.Skew()))
	}
	field("maintenance", "%s", p.Maintenance)
	if p.Parent != "" {
		field("parent", "%s", p.Parent)
	}
	field("by", "vappvault %s, API %s", p.ToolVersion, p.APIVersion)
	field("bytes", "%s, %s of data; read %s, stored %s", wording.Size(a.Size), wording.Size(a.Data), wording.Size(a.Read), wording.Size(a.Stored))
	flush(w)
	fmt.Fprintln(w)
	drawDisks(w, p)
	flush(w)
	drawLists(w, p)
}

func drawDisks(w io.Writer, p *restorepoint.Point) {
	row(w, "VM", "DISK", "KEY", "SIZE", "READ", "STORED", "HOW", "TREE HASH")
	for _, vm := range p.VMs {
		if len(vm.Disks) == 0 {
			how := vm.Missing
			switch {
			case how == "" && len(vm.Unprotected) == 0:
				how = "no disks"
			case how == "":
				how = "none of its disks is protected"
			case !vm.Excluded:
				how = "missing: " + how
			}
			row(w, vm.Name, "", "", "", "", "", how, "")
		}
		for _, d := range vm.Unprotected {
			row(w, vm.Name, d.Label, strconv.Itoa(int(d.Key)), wording.Size(d.Content.Size), "", "", how(d), "")
		}
		for _, d := range vm.Disks {
			row(w, vm.Name, d.Label, strconv.Itoa(int(d.Key)), wording.Size(d.Content.Size), wording.Size(d.ReadBytes), wording.Size(d.Content.StoredBytes), how(d), d.Content.TreeHash)
		}
	}
}

// how tells in a few words how a disk came into the point.
func how(d restorepoint.Disk) string {
	if d.Excluded {
		return d.NotProtected
	}
	if d.NotProtected != "" {
		return "not protected: " + d.NotProtected
	}
	text := d.Mode
	if d.Transport != "" {
		text += " by " + d.Transport
	}
	if d.TransportMode != "" {
		text += "/" + d.TransportMode
	}
	if rate := d.Rate(); rate > 0 {
		text += ", " + wording.Size(rate) + "/s"
	}
	if r := d.Resumed; r != nil {
		text += ", went on after " + wording.Size(r.Bytes)
	}
	switch {
	case d.RetryCount == 1:
		text += ", 1 retry"
	case d.RetryCount > 1:
		text += fmt.Sprintf(", %d retries", d.RetryCount)
	}
	if d.FullReason != "" {
		text += " (" + d.FullReason + ")"
	}
	return text
}

func drawLists(w io.Writer, p *restorepoint.Point) {
	list := func(title string, lines []string) {
		if len(lines) > 0 {
			fmt.Fprintf(w, "\n%s\n  %s\n", title, strings.Join(lines, "\n  "))
		}
	}
	var problems []string
	for _, problem := range p.Problems {
		problems = append(problems, problemText(problem))
	}
	list("problems", problems)
	list("on the way", onTheWay(p))
	var absent []string
	for _, path := range slices.Sorted(maps.Keys(p.Absent)) {
		absent = append(absent, clean(path+": "+p.Absent[path]))
	}
	var documents []string
	for _, path := range p.Documents {
		documents = append(documents, clean(path))
	}
	list("documents", documents)
	list("documents that there were none of", absent)
}

// onTheWay words what happened to the disks while they were copied, and what
// was made of it.
func onTheWay(p *restorepoint.Point) []string {
	var out []string
	for _, vm := range p.VMs {
		for _, d := range vm.Disks {
			say := func(format string, args ...any) {
				out = append(out, clean("vm "+vm.Name+": disk "+d.Label+": "+fmt.Sprintf(format, args...)))
			}
			for _, o := range d.PassedOver {
				say("not by %s: %s", o.Transport, o.Reason)
			}
			if d.NotResumed != "" {
				say("what an interrupted attempt had copied was not used: %s", d.NotResumed)
			}
			for _, r := range d.Retries {
				what := "again"
				switch {
				case r.GaveWay:
					what = "gave way to the next transport"
				case r.BackOff > 0:
					what = fmt.Sprintf("asked for less after %.1f s", r.BackOff)
				}
				say("%s: %s %s: %s", stamp(r.Time), r.Transport, what, r.Reason)
			}
			if more := d.RetryCount - len(d.Retries); more > 0 {
				say("and %s more", wording.Count(more, "time"))
			}
		}
	}
	return out
}

// flush ends a block of aligned lines, so that the next has its own columns.
func flush(w io.Writer) {
	if f, ok := w.(interface{ Flush() error }); ok {
		_ = f.Flush() // print looks at the writer's error
	}
}
