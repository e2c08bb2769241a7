package repository

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// RootVersion is the version of the root format that this program writes. It
// reads this one and every older one.
const RootVersion = 1

const (
	rootFile   = "vappvault.json"
	rootFormat = "vappvault-repository"
	orgsDir    = "orgs"
)

// A Location says where a repository root is.
type Location struct {
	Path string // folder
}

// Options are what opening a root needs besides its location and password.
type Options struct {
	// StateDir is this machine's folder for connections and caches. No
	// password is kept there.
	StateDir string
	Logger   *slog.Logger // nil: silent
}

// A rootInfo is the content of vappvault.json. It holds no secret.
type rootInfo struct {
	Format  string    `json:"format"`
	Version int       `json:"version"`
	ID      string    `json:"id"` // ULID
	Created time.Time `json:"created"`
	KDF     kdf       `json:"kdf"`
	Check   []byte    `json:"check"`
}

// A Root is an open repository root. It is safe for concurrent use.
type Root struct {
	path  string
	state string
	info  rootInfo
	key   rootKey
	log   *slog.Logger

	mu   sync.Mutex
	open map[string]*slot // by org id
}

// A slot is an organization's place among the open ones. It has a lock of its
// own: opening one takes a tenth of a second, and there may be hundreds.
type slot struct {
	mu   sync.Mutex
	repo *Repository // nil: not open
}

func (r *Root) slot(id string) *slot {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open[id] == nil {
		r.open[id] = &slot{}
	}
	return r.open[id]
}

// Init makes a repository root in a folder that is empty or not there yet.
// On a root that exists it changes nothing and checks the password.
func Init(ctx context.Context, at Location, password string) error {
	path, err := filepath.Abs(at.Path)
	if err != nil {
		return fmt.Errorf("repository %s: %w", at.Path, err)
	}
	if err := initRoot(ctx, path, password); err != nil {
		return fmt.Errorf("repository %s: %w", path, err)
	}
	return nil
}

func initRoot(ctx context.Context, path, password string) error {
	if err := makeDir(path); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(path, "."+rootFile+".lock"), false)
	if err != nil {
		return err
	}
	defer unlock()
	info, err := readRoot(path)
	if err == nil {
		_, err = info.unlock(password)
		return err
	}
	if !errors.Is(err, ErrNotRepository) {
		return err
	}
	if err := mustBeEmpty(path); err != nil {
		return err
	}
	if orgs, err := os.ReadDir(filepath.Join(path, orgsDir)); err == nil && len(orgs) > 0 {
		// A new key would not open what is there.
		return fmt.Errorf("%w: %s is missing, and with it the key to the %d files under %s: bring it back from a copy",
			ErrDamaged, rootFile, len(orgs), orgsDir)
	}
	derivation, err := newKDF(password)
	if err != nil {
		return err
	}
	info = rootInfo{
		Format: rootFormat, Version: RootVersion, ID: ulid.Make().String(),
		Created: time.Now().UTC().Truncate(time.Second), KDF: derivation,
	}
	key, err := info.KDF.key(password)
	if err != nil {
		return err
	}
	info.Check = key.check()
	if err := makeDir(filepath.Join(path, orgsDir)); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	if err := writeJSON(filepath.Join(path, rootFile), info); err != nil {
		return fmt.Errorf("write %s: %w", rootFile, err)
	}
	return nil
}

// mustBeEmpty refuses a folder that somebody else uses. What an interrupted
// Init leaves and what a new file system holds is no content.
func mustBeEmpty(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if n := e.Name(); n != orgsDir && n != "lost+found" && n[0] != '.' {
			return fmt.Errorf("the folder is not empty: it holds %s", n)
		}
	}
	return nil
}

// Open opens a repository root. With a password, deriving the root key takes
// about a tenth of a second and 64 MiB; with a generated key (NewKey) nothing.
func Open(_ context.Context, at Location, password string, o Options) (*Root, error) {
	path, err := filepath.Abs(at.Path)
	if err != nil {
		return nil, fmt.Errorf("repository %s: %w", at.Path, err)
	}
	info, err := readRoot(path)
	if err != nil {
		return nil, fmt.Errorf("repository %s: %w", path, err)
	}
	key, err := info.unlock(password)
	if err != nil {
		return nil, fmt.Errorf("repository %s: %w", path, err)
	}
	state, err := filepath.Abs(o.StateDir)
	if err != nil || o.StateDir == "" {
		return nil, fmt.Errorf("repository %s: state folder %q is not usable", path, o.StateDir)
	}
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Root{
		path: path, state: filepath.Join(state, info.ID), info: info, key: key, log: log,
		open: map[string]*slot{},
	}, nil
}

// Identify returns the id of the repository root at a location without
// opening it.
func Identify(at Location) (string, error) {
	path, err := filepath.Abs(at.Path)
	if err != nil {
		return "", fmt.Errorf("repository %s: %w", at.Path, err)
	}
	info, err := readRoot(path)
	if err != nil {
		return "", fmt.Errorf("repository %s: %w", path, err)
	}
	return info.ID, nil
}

// readRoot reads and checks vappvault.json.
func readRoot(path string) (rootInfo, error) {
	data, err := os.ReadFile(filepath.Join(path, rootFile))
	if errors.Is(err, fs.ErrNotExist) {
		return rootInfo{}, fmt.Errorf("%w: %w", ErrNotRepository, err)
	}
	if err != nil {
		return rootInfo{}, err
	}
	return parseRoot(data)
}

// parseRoot decodes vappvault.json.
func parseRoot(data []byte) (rootInfo, error) {
	var head struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
	}
	if err := json.Unmarshal(data, &head); err != nil || head.Format != rootFormat {
		return rootInfo{}, fmt.Errorf("%w: %s says nothing of the kind", ErrNotRepository, rootFile)
	}
	if head.Version > RootVersion {
		return rootInfo{}, fmt.Errorf("%w: version %d, this program reads up to %d",
			ErrNewerFormat, head.Version, RootVersion)
	}
	var info rootInfo
	if err := json.Unmarshal(data, &info); err != nil {
		return rootInfo{}, fmt.Errorf("%w: %s: %w", ErrDamaged, rootFile, err)
	}
	if info.Version < 1 || !component.MatchString(info.ID) {
		return rootInfo{}, fmt.Errorf("%w: %s: version %d, id %q", ErrDamaged, rootFile, info.Version, info.ID)
	}
	return info, nil
}

// unlock derives the root key and checks it.
func (i rootInfo) unlock(password string) (rootKey, error) {
	key, err := i.KDF.key(password)
	if err != nil {
		return nil, err
	}
	if !key.fits(i.Check) {
		return nil, ErrWrongPassword
	}
	return key, nil
}

// ID returns the id of the root, which it keeps wherever it is moved.
func (r *Root) ID() string { return r.info.ID }

// Path returns the folder of the root.
func (r *Root) Path() string { return r.path }

// Close closes every repository of the root.
func (r *Root) Close(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, s := range r.open {
		s.mu.Lock()
		if s.repo != nil {
			errs = append(errs, s.repo.close(ctx))
			s.repo = nil
		}
		s.mu.Unlock()
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("repository %s: %w", r.path, err)
	}
	return nil
}
