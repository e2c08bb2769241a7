// Package repository keeps restore points in Kopia repositories.
//
// A repository root holds one Kopia repository per organization, each with a
// password of its own that is derived from the root's. A restore point is a
// Kopia snapshot, a disk is one object of it, so the stock kopia command can
// list, verify and restore whatever is kept here. doc/repository.md is the
// specification of the format.
//
// A point is listed only once all of it is on stable storage, and it never
// changes afterwards. Whatever is read back is authenticated: it is what was
// written, or an error. Memory stays bounded whatever the size of a disk.
//
// Nothing else imports Kopia. There is no retention and no schedule here:
// points stay until Forget, garbage stays until Maintain.
package repository

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/kopia/kopia/repo"
)

// username and hostname identify this program to Kopia. They own the
// maintenance of every repository, so that no stock command that connects
// under another name ever starts one by itself.
const (
	username = "vappvault"
	hostname = "vappvault"
)

// A Repository holds the restore points of one organization. It is safe for
// concurrent use.
type Repository struct {
	org      OrgInfo
	dir      string // of the Kopia repository
	password string // Kopia's
	rep      repo.DirectRepository
	ids      *identifier
	sums     *knownSums
	direct   *directReader
	log      *slog.Logger
}

// Org returns the organization whose points these are.
func (o *Repository) Org() OrgInfo { return o.org }

// lockPath is the file that writers hold shared and an immediate maintenance
// holds alone.
func (o *Repository) lockPath() string { return o.dir + ".lock" }

// errorf prefixes an error with the organization's name.
func (o *Repository) errorf(format string, args ...any) error {
	return fmt.Errorf("org %s: "+format, append([]any{o.org.label()}, args...)...)
}

// openKopia connects to the Kopia repository of an organization. The
// configuration file, which holds no secret, is written anew whenever the
// folder has moved.
func openKopia(ctx context.Context, org OrgInfo, dir, password, stateDir string, log *slog.Logger) (*Repository, error) {
	ours, err := register()
	if err != nil {
		return nil, fmt.Errorf("org %s: %w", org.label(), err)
	}
	config := filepath.Join(stateDir, "kopia", org.ID, "repository.config")
	if err := writeConnection(config, dir); err != nil {
		return nil, fmt.Errorf("org %s: write connection: %w", org.label(), err)
	}
	opened, err := repo.Open(ctx, config, password, &repo.Options{
		DisableRepositoryLog: true,
		DoNotWaitForUpgrade:  true,
		OnFatalError: func(err error) {
			// Kopia would end the process here.
			log.Error("repository unusable", "org", org.label(), "error", err)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("org %s: open %s: %w", org.label(), dir, openError(err))
	}
	direct, ok := opened.(repo.DirectRepository)
	if !ok {
		return nil, fmt.Errorf("org %s: open %s: a Kopia server is not supported", org.label(), dir)
	}
	o := &Repository{org: org, dir: dir, password: password, rep: direct, sums: ours.sums, log: log}
	o.ids, err = newIdentifier(direct.ContentReader().ContentFormat())
	if err == nil {
		o.direct, err = newDirectReader(ctx, direct.ContentReader(), dir, ours.compressor)
	}
	if err != nil {
		_ = direct.Close(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("org %s: open %s: %w", org.label(), dir, err)
	}
	return o, nil
}

// close releases the repository. Open PointWriters keep it alive until they
// are closed, too.
func (o *Repository) close(ctx context.Context) error {
	if err := o.rep.Close(ctx); err != nil {
		return o.errorf("close: %w", err)
	}
	return nil
}
