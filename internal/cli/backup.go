package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

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
		metadata []string
	)
	cmd := &cobra.Command{
		Use:   "backup SELECTOR…",
		Short: "Back up vApps, each to a restore point",
		Long: `Backs up each vApp that is selected to a restore point. Only what changed since
the last one is read, yet every point stands alone.

A vApp is held in maintenance mode meanwhile, so that nobody changes it:
--maintenance full to the end, snapshot until all its VMs are frozen, none not
at all. A VM that fails does not sink the others: the point is then partial and
the exit code 3.`,
		Example: `  vappvault backup acme/vdc1/web-shop
  vappvault backup 'acme/*/*' --exclude '*/*/test-*' --maintenance snapshot
  vappvault backup --all --metadata backup=daily`,
		ValidArgsFunction: e.completeSelectors,
		RunE: e.run(func(cmd *cobra.Command, args []string) error {
			req.Selectors = args
			if err := checkBackup(&req, metadata); err != nil {
				return err
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
	flags := cmd.Flags()
	flags.BoolVar(&req.All, "all", false, "back up every vApp")
	flags.StringArrayVar(&metadata, "metadata", nil, "only vApps with this metadata, `key=value`; repeat for more")
	flags.StringArrayVar(&req.Exclude, "exclude", nil, "leave out the vApps that this `selector` matches; repeat for more")
	flags.StringVar(&req.Maintenance, "maintenance", backup.MaintenanceFull, "hold maintenance `mode`: full, snapshot or none")
	flags.BoolVar(&req.Full, "full", false, "read every disk whole, whatever changed block tracking says")
	flags.Float64Var(&req.SamplePercent, "sample", 0, "read this `percent` of the unchanged blocks all the same, to check (default from the configuration, else 1)")
	flags.StringVar(&req.Quiesce, "quiesce", "try", "quiesce guests, `require|try|off`")
	fixed := func(flag string, values ...string) {
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
	fixed("maintenance", backup.MaintenanceFull, backup.MaintenanceSnapshot, backup.MaintenanceNone)
	fixed("quiesce", "require", "try", "off")
	return cmd
}

func checkBackup(req *app.BackupRequest, metadata []string) error {
	for _, pair := range metadata {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return usagef("--metadata %q: want key=value", pair)
		}
		if req.Metadata == nil {
			req.Metadata = map[string]string{}
		}
		req.Metadata[key] = value
	}
	switch {
	case req.All && len(req.Selectors) > 0:
		return usagef("--all and selectors exclude each other")
	case !req.All && len(req.Selectors) == 0 && len(metadata) == 0:
		return usagef("name what to back up, or give --all")
	case len(req.Selectors) == 0:
		req.All = true // with metadata: all that have it
	}
	for _, s := range append(append([]string{}, req.Selectors...), req.Exclude...) {
		sel, err := selection.Parse(s)
		if err != nil {
			return &usageError{err}
		}
		if sel.NamesVM() {
			return usagef("selector %q: a backup is of whole vApps: leave the VM out", s)
		}
	}
	if err := oneOf("maintenance", req.Maintenance, backup.MaintenanceFull, backup.MaintenanceSnapshot, backup.MaintenanceNone); err != nil {
		return err
	}
	return oneOf("quiesce", req.Quiesce, "require", "try", "off")
}

// backupView is the outcome for one vApp in JSON.
type backupView struct {
	VApp    string               `json:"vapp"`
	Point   *restorepoint.Point  `json:"point,omitempty"`
	Total   *restorepointAmounts `json:"total,omitempty"`
	Error   string               `json:"error,omitempty"`
	Seconds float64              `json:"seconds"`
}

// restorepointAmounts are sums over the disks of a point, in bytes.
type restorepointAmounts struct {
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
		v := backupView{VApp: r.VApp, Point: r.Point, Seconds: r.Duration.Seconds()}
		if r.Point != nil {
			a := amounts(r.Point)
			v.Total = &a
		}
		if r.Err != nil {
			v.Error = r.Err.Error()
		}
		views = append(views, v)
	}
	return views
}

func drawBackups(w io.Writer, results []app.BackupResult) {
	for _, r := range results {
		if r.Point == nil {
			fmt.Fprintf(w, "%s: no restore point\n", clean(r.VApp))
			continue
		}
		drawBackup(w, r.VApp, r.Point, r.Duration)
	}
}

func drawBackup(w io.Writer, vapp string, p *restorepoint.Point, d time.Duration) {
	a := amounts(p)
	fmt.Fprintf(w, "%s: restore point %s: %s, %s, %s of %s; read %s, stored %s in %s\n",
		clean(vapp), p.ID, p.State, wording.Count(len(p.VMs), "VM"), wording.Count(a.Disks, "disk"), wording.Size(a.Size), wording.Size(a.Read), wording.Size(a.Stored), took(d))
	for _, problem := range p.Problems {
		if problem.Missing {
			fmt.Fprintf(w, "  missing: %s\n", problemText(problem))
		}
	}
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
