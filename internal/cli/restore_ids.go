package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/restore"
)

// idFiles are the files in which a restore tells which ids are new.
type idFiles struct{ ids, terraform string }

func (f *idFiles) flags(flags *pflag.FlagSet) {
	flags.StringVar(&f.ids, "id-map", "", "write old and new ids of vApps, VMs, networks and named disks to this `file`, as JSON")
	flags.StringVar(&f.terraform, "terraform", "", "write import blocks for Terraform's provider vmware/vcd to this `file`")
}

func (f *idFiles) check(req app.RestoreRequest) error {
	if req.DryRun && (f.ids != "" || f.terraform != "") {
		return usagef("--id-map and --terraform go without --dry-run: only a restore gives ids")
	}
	// Ids that cannot be written once all is restored are lost.
	for flag, file := range map[string]string{"--id-map": f.ids, "--terraform": f.terraform} {
		if file == "" {
			continue
		}
		if folder, err := os.Stat(filepath.Dir(file)); err != nil || !folder.IsDir() {
			return usagef("%s %s: its folder is not there", flag, file)
		}
		if there, err := os.Stat(file); err == nil && there.IsDir() {
			return usagef("%s %s: is a folder", flag, file)
		}
	}
	return nil
}

// write writes the files of what was restored.
func (f *idFiles) write(results ...*restore.Result) error {
	ids := restore.IDs(results)
	var errs []error
	if f.ids != "" {
		raw, err := json.MarshalIndent(ids, "", "  ")
		if err == nil {
			err = os.WriteFile(f.ids, append(raw, '\n'), 0o644) //nolint:gosec // ids are no secrets
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("id map: %w", err))
		}
	}
	if f.terraform != "" {
		if err := os.WriteFile(f.terraform, []byte(ids.Terraform()), 0o644); err != nil { //nolint:gosec // ids are no secrets
			errs = append(errs, fmt.Errorf("import blocks: %w", err))
		}
	}
	return errors.Join(errs...)
}
