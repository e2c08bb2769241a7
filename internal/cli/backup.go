package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/backup"
	"github.com/vappvault/vappvault/internal/config"
	"github.com/vappvault/vappvault/internal/restorepoint"
	"github.com/vappvault/vappvault/internal/selection"
	"github.com/vappvault/vappvault/internal/wording"
)

func (e *env) backupCommand() *cobra.Command {
	var (
		req      app.BackupRequest
		metadata struct{ vapps, vms []string }
	)
	cmd := &cobra.Command{
		Use:   "backup SELECTOR…",
		Short: "Back up vApps, each to a restore point",
		Long: `Backs up each vApp that is selected to a restore point. Only what changed since
the last one is read, yet every point stands alone.

A selector of VMs takes of its vApps those VMs only; --vm-metadata does the same
by the VMs' own metadata. --exclude leaves vApps or VMs out, --exclude-disk
disks. What is left out so is named in the restore point, which is complete all
the same. A DISK is VM:DISK: a VM's name or selector, in which * is a glob, and
the disk's label ("Hard disk 2"), its device key (2001), or bus and unit (1:3, or
with the kind of controller scsi1:3, sata0:1, nvme0:0, ide0:1). A : inside a name
is written %3A.

Several vApps are backed up at once, as many as --parallel or limits.vapps in the
configuration says; limits.disks bounds the disks that are read at once in all of
them. One that fails does not stop the others, nor does a selector that nothing
matches, nor a site that does not answer: the exit code is then 3.

A vApp is held in maintenance mode meanwhile, so that nobody changes it:
--maintenance full to the end, snapshot until all its VMs are frozen, none not
at all. A VM that fails does not sink the others: the point is then partial and
the exit code 3.`,
		Example: `  vappvault backup acme/vdc1/web-shop
  vappvault backup 'acme/*/*' --exclude '*/*/test-*' --maintenance snapshot
  vappvault backup 'acme/vdc1/web-shop/db*' --exclude-disk 'db*:Hard disk 3'
  vappvault backup --all --exclude '*/*/*/scratch-*' --parallel 4
  vappvault backup --all --metadata backup=daily`,
		ValidArgsFunction: e.completeSelectors,
		RunE: e.run(func(cmd *cobra.Command, args []string) error {
			req.Selectors = args
			if err := checkBackup(&req, metadata.vapps, metadata.vms); err != nil {
				return err
			}
			if cmd.Flags().Changed("parallel") && (req.Parallel < 1 || req.Parallel > config.MaxVApps) {
				return usagef("--parallel %d: want 1 to %d", req.Parallel, config.MaxVApps)
			}
			if sample := cmd.Flags().Lookup("sample"); sample.Changed && !(req.SamplePercent >= 0 && req.SamplePercent <= 100) {
				return usagef("--sample %v: want a percentage, 0 to 100", req.SamplePercent)
			}
			var results []app.BackupResult
			err := e.withApp(cmd.Context(), func(ctx context.Context, a *app.App, c *config.Config) (err error) {
				if !cmd.Flags().Changed("sample") {
					req.SamplePercent = c.Limits.Sample
				}
				results, err = a.Backup(ctx, req)
				return err
			})
			if len(results) > 0 {
				if perr := e.print("backups", viewBackups(results), func(w io.Writer) { drawBackups(w, results) }); err == nil {
					err = perr
				}
			}
			return err
		}),
	}
	backupFlags(cmd, &req, &metadata.vapps, &metadata.vms)
	return cmd
}

func backupFlags(cmd *cobra.Command, req *app.BackupRequest, metadata, vmMetadata *[]string) {
	flags := cmd.Flags()
	flags.BoolVar(&req.All, "all", false, "back up every vApp")
	flags.StringArrayVar(metadata, "metadata", nil, "only vApps with this metadata, `key=value`; repeat for more, of which all must be there")
	flags.StringArrayVar(vmMetadata, "vm-metadata", nil, "only VMs with this metadata, `key=value`; repeat for more, of which all must be there")
	flags.StringArrayVar(&req.Exclude, "exclude", nil, "leave out the vApps or VMs that this `selector` matches; repeat for more")
	flags.StringArrayVar(&req.ExcludeDisks, "exclude-disk", nil, "leave out the disks that this `VM:DISK` matches; repeat for more")
	flags.IntVar(&req.Parallel, "parallel", 0, "back up this `many` vApps at once (default from the configuration, else 2)")
	flags.StringVar(&req.Maintenance, "maintenance", backup.MaintenanceFull, "hold maintenance `mode`: full, snapshot or none")
	flags.BoolVar(&req.Full, "full", false, "read every disk whole, whatever changed block tracking says")
	flags.Float64Var(&req.SamplePercent, "sample", 0, "read this `percent` of the unchanged blocks all the same, to check (default from the configuration, else 1)")
	flags.StringVar(&req.Quiesce, "quiesce", "try", "quiesce guests, `require|try|off`")
	fixed := func(flag string, values ...string) {
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
	fixed("maintenance", backup.MaintenanceFull, backup.MaintenanceSnapshot, backup.MaintenanceNone)
	fixed("quiesce", "require", "try", "off")
}

func checkBackup(req *app.BackupRequest, metadata, vmMetadata []string) (err error) {
	if req.Metadata, err = pairs("metadata", metadata); err != nil {
		return err
	}
	if req.VMMetadata, err = pairs("vm-metadata", vmMetadata); err != nil {
		return err
	}
	switch {
	case req.All && len(req.Selectors) > 0:
		return usagef("--all and selectors exclude each other")
	case !req.All && len(req.Selectors) == 0 && len(metadata)+len(vmMetadata) == 0:
		return usagef("name what to back up, or give --all")
	case len(req.Selectors) == 0:
		req.All = true // with metadata: all that have it
	}
	if err := checkSelectors(slices.Concat(req.Selectors, req.Exclude)); err != nil {
		return err
	}
	for _, s := range req.ExcludeDisks {
		if _, err := selection.ParseDisk(s); err != nil {
			return &usageError{fmt.Errorf("--exclude-disk: %w", err)}
		}
	}
	if err := oneOf("maintenance", req.Maintenance, backup.MaintenanceFull, backup.MaintenanceSnapshot, backup.MaintenanceNone); err != nil {
		return err
	}
	return oneOf("quiesce", req.Quiesce, "require", "try", "off")
}

// pairs reads the values of a flag, each key=value.
func pairs(flag string, words []string) (map[string]string, error) {
	var out map[string]string
	for _, pair := range words {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, usagef("--%s %q: want key=value", flag, pair)
		}
		if out == nil {
			out = map[string]string{}
		}
		out[key] = value
	}
	return out, nil
}

// backupView is the outcome for one vApp, or for a selector that nothing
// matches, in JSON.
type backupView struct {
	VApp  string               `json:"vapp"` // selector
	Point *restorepoint.Point  `json:"point,omitempty"`
	Total *restorepointAmounts `json:"total,omitempty"`
	// Unprotected are the VMs and disks that the point does not hold,
	// whether they failed, cannot be held, or were excluded.
	Unprotected []restorepoint.Gap `json:"unprotected"`
	Error       string             `json:"error,omitempty"`
	Seconds     float64            `json:"seconds"`
}

// restorepointAmounts are sums over the disks of a point, in bytes.
type restorepointAmounts struct {
	VMs     int   `json:"vms"` // whose disks are held
	Disks   int   `json:"disks"`
	Size    int64 `json:"size"`
	Data    int64 `json:"data"`    // in blocks that are not zeros
	Read    int64 `json:"read"`    // asked of the transport
	Wire    int64 `json:"wire"`    // came over the wire
	Written int64 `json:"written"` // in blocks written for this point
	Stored  int64 `json:"stored"`  // added to the repository
}

func amounts(p *restorepoint.Point) restorepointAmounts {
	var a restorepointAmounts
	for _, vm := range p.VMs {
		if vm.Hold() == restorepoint.Held {
			a.VMs++
		}
		for _, d := range vm.Disks {
			a.Disks++
			a.Size += d.Content.Size
			a.Data += d.Content.DataBytes
			a.Read += d.ReadBytes
			a.Wire += d.WireBytes
			a.Written += d.Content.WrittenBytes
			a.Stored += d.Content.StoredBytes
		}
	}
	return a
}

func viewBackups(results []app.BackupResult) []backupView {
	views := make([]backupView, 0, len(results))
	for _, r := range results {
		v := backupView{VApp: r.VApp, Point: r.Point, Seconds: r.Duration.Seconds(), Unprotected: []restorepoint.Gap{}}
		if r.Point != nil {
			a := amounts(r.Point)
			v.Total = &a
			v.Unprotected = append(v.Unprotected, r.Point.Gaps()...)
		}
		if r.Err != nil {
			v.Error = r.Err.Error()
		}
		views = append(views, v)
	}
	return views
}

func drawBackups(w io.Writer, results []app.BackupResult) {
	if len(results) == 1 {
		drawBackup(w, results[0])
	} else {
		drawTable(w, results)
	}
	drawUnprotected(w, results)
}

func drawBackup(w io.Writer, r app.BackupResult) {
	if r.Point == nil {
		fmt.Fprintf(w, "%s: no restore point\n", clean(r.VApp))
		return
	}
	p, a := r.Point, amounts(r.Point)
	fmt.Fprintf(w, "%s: restore point %s: %s, %s, %s of %s; read %s, stored %s in %s\n",
		clean(r.VApp), p.ID, p.State, wording.Count(a.VMs, "VM"), wording.Count(a.Disks, "disk"), wording.Size(a.Size), wording.Size(a.Read), wording.Size(a.Stored), took(r.Duration))
}

func drawTable(w io.Writer, results []app.BackupResult) {
	row(w, "VAPP", "POINT", "STATE", "VMS", "DISKS", "SIZE", "READ", "STORED", "TOOK")
	for _, r := range results {
		switch {
		case r.Point != nil:
			a := amounts(r.Point)
			row(w, r.VApp, r.Point.ID, string(r.Point.State), strconv.Itoa(a.VMs), strconv.Itoa(a.Disks),
				wording.Size(a.Size), wording.Size(a.Read), wording.Size(a.Stored), took(r.Duration))
		case errors.Is(r.Err, selection.ErrNoMatch):
			row(w, r.VApp, "", "nothing matches", "", "", "", "", "", "")
		default:
			row(w, r.VApp, "", "failed", "", "", "", "", "", took(r.Duration))
		}
	}
	flush(w)
}

// drawUnprotected names what the restore points lack: first what went wrong
// or cannot be protected, then what nobody asked for.
func drawUnprotected(w io.Writer, results []app.BackupResult) {
	var missing, excluded []string
	for _, r := range results {
		if r.Point == nil {
			continue
		}
		at := clean(r.VApp) + ": "
		for _, gap := range r.Point.Gaps() {
			line := at + clean(gapText(gap))
			if gap.Excluded {
				excluded = append(excluded, line)
			} else {
				missing = append(missing, line)
			}
		}
		for _, problem := range r.Point.Problems {
			if problem.Missing && problem.VM == "" { // of VMs and disks the gaps tell
				missing = append(missing, at+problemText(problem))
			}
		}
	}
	drawList(w, "not protected:", missing)
	drawList(w, "left out by choice:", excluded)
}

func drawList(w io.Writer, title string, lines []string) {
	if len(lines) > 0 {
		fmt.Fprintf(w, "%s\n  %s\n", title, strings.Join(lines, "\n  "))
	}
}

func gapText(g restorepoint.Gap) string {
	if g.Disk != "" {
		return "vm " + g.VM + ": disk " + g.Disk + ": " + g.Reason
	}
	return "vm " + g.VM + ": " + g.Reason
}

func problemText(p restorepoint.Problem) string {
	text := p.Message
	if p.Disk != "" {
		text = "disk " + p.Disk + ": " + text
	}
	if p.VM != "" {
		text = "vm " + p.VM + ": " + text
	}
	return clean(text)
}
