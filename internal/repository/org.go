package repository

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/format"
	"github.com/kopia/kopia/repo/maintenance"
	"github.com/kopia/kopia/snapshot/policy"

	"github.com/vappvault/vappvault/internal/restorepoint"
)

// What a new Kopia repository is made with.
const (
	hashAlgorithm       = "BLAKE3-256-128"
	encryptionAlgorithm = "AES256-GCM-HMAC-SHA256"
	defaultSplitter     = "DYNAMIC-4M-BUZHASH"
	// keyDerivation turns Kopia's password into the key of its format file.
	// Ours has 256 random bits, so that Kopia's default, scrypt, would only
	// cost memory.
	keyDerivation = "pbkdf2-sha256-600000"
)

// An OrgInfo describes an organization of a root. Its file, orgs/ID.json, is
// written last, so that its presence says that the repository is complete.
type OrgInfo struct {
	Version int       `json:"version"`
	ID      string    `json:"id"` // UUID
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
}

// label is what errors call the organization.
func (i OrgInfo) label() string {
	if i.Name != "" {
		return i.Name
	}
	return i.ID
}

// Org returns the repository of an organization and makes it on first use.
// The id may be a URN. A name that has changed is recorded, and an
// organization's file that is damaged is written anew.
func (r *Root) Org(ctx context.Context, orgID, orgName string) (*Repository, error) {
	id, err := orgUUID(orgID)
	if err != nil {
		return nil, fmt.Errorf("repository %s: org %s: %w", r.path, orgName, err)
	}
	s := r.slot(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	info, err := r.readOrg(id)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) || err == nil && orgName != "" && info.Name != orgName {
		info, err = r.recordOrg(ctx, s, id, orgName)
	}
	if err != nil {
		return nil, fmt.Errorf("repository %s: %w", r.path, err)
	}
	return r.openOrg(ctx, s, info)
}

// Existing returns the repository of an organization, or ErrNotFound. An
// organization's file that is damaged is no reason to refuse it: the id is
// enough to open what it stands for.
func (r *Root) Existing(ctx context.Context, orgID string) (*Repository, error) {
	id, err := orgUUID(orgID)
	if err != nil {
		return nil, fmt.Errorf("repository %s: %w", r.path, err)
	}
	s := r.slot(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	info, err := r.readOrg(id)
	if errors.Is(err, ErrDamaged) {
		info, err = OrgInfo{ID: id}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("repository %s: %w", r.path, err)
	}
	return r.openOrg(ctx, s, info)
}

// Orgs lists the organizations of the root, sorted by name. One whose file is
// damaged or cannot be read is listed by its id alone.
func (r *Root) Orgs(_ context.Context) ([]OrgInfo, error) {
	entries, err := os.ReadDir(filepath.Join(r.path, orgsDir))
	if err != nil {
		return nil, fmt.Errorf("repository %s: list organizations: %w", r.path, err)
	}
	var orgs []OrgInfo
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || !component.MatchString(id) {
			continue
		}
		info, err := r.readOrg(id)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			r.log.Warn("organization's file unreadable", "org", id, "error", err)
			info = OrgInfo{ID: id}
		}
		orgs = append(orgs, info)
	}
	slices.SortFunc(orgs, func(a, b OrgInfo) int {
		return strings.Compare(a.Name+"\x00"+a.ID, b.Name+"\x00"+b.ID)
	})
	return orgs, nil
}

func orgUUID(orgID string) (string, error) {
	id := restorepoint.UUID(orgID)
	if !component.MatchString(id) {
		return "", fmt.Errorf("organization id %q is not fit for a path", orgID)
	}
	return id, nil
}

func (r *Root) orgDir(id string) string  { return filepath.Join(r.path, orgsDir, id) }
func (r *Root) orgFile(id string) string { return r.orgDir(id) + ".json" }

// readOrg reads an organization's file.
func (r *Root) readOrg(id string) (OrgInfo, error) {
	data, err := os.ReadFile(r.orgFile(id))
	if errors.Is(err, fs.ErrNotExist) {
		return OrgInfo{}, fmt.Errorf("org %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return OrgInfo{}, fmt.Errorf("org %s: %w", id, err)
	}
	var info OrgInfo
	if err := json.Unmarshal(data, &info); err != nil {
		return OrgInfo{}, fmt.Errorf("org %s: %w: %s: %w", id, ErrDamaged, r.orgFile(id), err)
	}
	if info.Version > RootVersion {
		return OrgInfo{}, fmt.Errorf("org %s: %w: version %d, this program reads up to %d",
			id, ErrNewerFormat, info.Version, RootVersion)
	}
	if info.ID != id {
		return OrgInfo{}, fmt.Errorf("org %s: %w: %s is about org %q", id, ErrDamaged, r.orgFile(id), info.ID)
	}
	return info, nil
}

// recordOrg makes an organization's repository unless it is there, and writes
// the organization's file.
func (r *Root) recordOrg(ctx context.Context, s *slot, id, name string) (OrgInfo, error) {
	unlock, err := lock(ctx, r.orgDir(id)+".create.lock", false)
	if err != nil {
		return OrgInfo{}, fmt.Errorf("org %s: %w", id, err)
	}
	defer unlock()
	info, err := r.readOrg(id)
	fresh := OrgInfo{Version: RootVersion, ID: id, Name: name, Created: time.Now().UTC().Truncate(time.Second)}
	switch {
	case errors.Is(err, ErrNotFound):
		info, err = fresh, r.createOrg(ctx, s, fresh)
	case errors.Is(err, ErrDamaged):
		info = fresh
		_, err = r.openOrg(ctx, s, fresh)
	}
	if err != nil {
		return OrgInfo{}, err
	}
	info.Name = name
	if err := writeJSON(r.orgFile(id), info); err != nil {
		return OrgInfo{}, fmt.Errorf("org %s: %w", info.label(), err)
	}
	return info, nil
}

// createOrg makes the Kopia repository of an organization. Parts that a
// creation cut short has left are completed.
func (r *Root) createOrg(ctx context.Context, s *slot, info OrgInfo) error {
	dir := r.orgDir(info.ID)
	if err := makeDir(dir); err != nil {
		return fmt.Errorf("org %s: make folder: %w", info.label(), err)
	}
	if _, err := register(); err != nil {
		return fmt.Errorf("org %s: %w", info.label(), err)
	}
	st, err := newStorage(ctx, &storageOptions{Path: dir}, true)
	if err != nil {
		return fmt.Errorf("org %s: %w", info.label(), err)
	}
	defer st.Close(ctx) //nolint:errcheck // holds nothing
	options := &repo.NewRepositoryOptions{
		BlockFormat: format.ContentFormat{
			Hash: hashAlgorithm, Encryption: encryptionAlgorithm, EnablePasswordChange: true,
		},
		ObjectFormat:                      format.ObjectFormat{Splitter: defaultSplitter},
		FormatBlockKeyDerivationAlgorithm: keyDerivation,
	}
	// A creation that was killed half-way leaves this blob without the one
	// that says what it belongs to, which Kopia takes for corruption.
	if _, err := st.GetMetadata(ctx, format.KopiaRepositoryBlobID); errors.Is(err, blob.ErrBlobNotFound) {
		if err := mustHoldNothing(ctx, st); err != nil {
			return fmt.Errorf("org %s: %w", info.label(), err)
		}
		if err := st.DeleteBlob(ctx, format.KopiaBlobCfgBlobID); err != nil {
			return fmt.Errorf("org %s: %w", info.label(), err)
		}
	}
	password := r.key.orgPassword(info.ID)
	if err := repo.Initialize(ctx, st, options, password); err != nil && !errors.Is(err, repo.ErrAlreadyInitialized) {
		return fmt.Errorf("org %s: create repository in %s: %w", info.label(), dir, err)
	}
	o, err := r.openOrg(ctx, s, info)
	if err != nil {
		return err
	}
	return o.settle(ctx)
}

// mustHoldNothing refuses a folder with contents that belong to a Kopia
// repository whose key is lost: a new one in its place could not read them,
// not even once the lost file is brought back.
func mustHoldNothing(ctx context.Context, st blob.Storage) error {
	return st.ListBlobs(ctx, "", func(m blob.Metadata) error {
		if strings.HasPrefix(string(m.BlobID), "kopia.") {
			return nil
		}
		return fmt.Errorf("%w: %s is missing, and with it the key to %s and what else is there: bring it back from a copy",
			ErrDamaged, format.KopiaRepositoryBlobID, m.BlobID)
	})
}

// openOrg opens an organization's repository unless it is open. The caller
// holds the slot's lock.
func (r *Root) openOrg(ctx context.Context, s *slot, info OrgInfo) (*Repository, error) {
	if s.repo != nil {
		return s.repo, nil
	}
	o, err := openKopia(ctx, info, r.orgDir(info.ID), r.key.orgPassword(info.ID), r.state, r.log)
	if err != nil {
		return nil, fmt.Errorf("repository %s: %w", r.path, err)
	}
	s.repo = o
	return o, nil
}

// settle keeps everything: Kopia's own default would let a stock "expire"
// delete points. And it claims the maintenance, so that no stock command
// starts one.
func (o *Repository) settle(ctx context.Context) error {
	err := repo.WriteSession(ctx, o.rep, repo.WriteSessionOptions{Purpose: "vappvault create"},
		func(ctx context.Context, w repo.RepositoryWriter) error {
			if err := policy.SetPolicy(ctx, w, policy.GlobalPolicySourceInfo, keepEverything()); err != nil {
				return err
			}
			p := maintenance.DefaultParams()
			p.Owner = username + "@" + hostname
			return maintenance.SetParams(ctx, w, &p)
		})
	if err != nil {
		return o.errorf("set policy: %w", err)
	}
	return nil
}

func keepEverything() *policy.Policy {
	all, none := policy.OptionalInt(math.MaxInt32), policy.OptionalInt(0)
	return &policy.Policy{RetentionPolicy: policy.RetentionPolicy{
		KeepLatest: &all, KeepHourly: &none, KeepDaily: &none, KeepWeekly: &none, KeepMonthly: &none, KeepAnnual: &none,
	}}
}
