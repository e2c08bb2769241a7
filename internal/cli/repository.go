package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/vappvault/vappvault/internal/app"
	"github.com/vappvault/vappvault/internal/config"
	"github.com/vappvault/vappvault/internal/repository"
	"github.com/vappvault/vappvault/internal/wording"
)

func (e *env) repositoryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "repository",
		Short: "Show the repository, generate a key for one",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
	}
	cmd.AddCommand(e.repositoryShowCommand(), e.repositoryKeyCommand())
	return cmd
}

func (e *env) repositoryKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "key [FILE]",
		Short: "Generate a key to be the password of a new repository",
		Long: `Generates a key of 256 random bits for a repository that is yet to be created: as
its password it can't be guessed, and every command opens the repository faster
than with a password that somebody thought of. The key is written to FILE, which
must not be there yet and which its owner alone may read, or else printed.

Without it nobody can read the repository: keep a copy in another place. It can
be typed from paper: typing errors are noticed.`,
		Example: `  vappvault repository key repository.password
  vappvault repository key | gpg --encrypt -r backup@example.org > repository.key.gpg`,
		Args: arguments(0, 1, ""),
		RunE: e.run(func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				key := repository.NewKey()
				return e.print("key", keyView{Key: key}, func(w io.Writer) { fmt.Fprintln(w, key) })
			}
			if err := writeKey(args[0]); err != nil {
				return fmt.Errorf("repository key: %w", err)
			}
			return e.print("key", keyView{File: args[0]}, func(w io.Writer) {
				fmt.Fprintf(w, "key written to %s: keep a copy in another place\n", clean(args[0]))
			})
		}),
	}
}

// keyView says where a generated key is, or what it is.
type keyView struct {
	File string `json:"file,omitempty"`
	Key  string `json:"key,omitempty"`
}

// writeKey writes a new key to a new file. What is there is never replaced:
// it may be the key of a repository.
func writeKey(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, repository.NewKey())
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	// Nor may a power cut leave a repository that was made with it alone.
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (e *env) repositoryShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show [ORG]",
		Short: "Show where restore points are, and how the stock kopia command reaches them",
		Long: `Shows the repository. With the name of an organization it also prints what the
stock kopia command needs to open that organization's part of it, password
included: restore points can be listed, verified, mounted and restored without
vappvault.`,
		Example: `  vappvault repository show
  vappvault repository show acme`,
		Args: arguments(0, 1, ""),
		RunE: e.run(func(cmd *cobra.Command, args []string) error {
			org := ""
			if len(args) == 1 {
				org = args[0]
			}
			var info app.RepositoryInfo
			err := e.withApp(cmd.Context(), func(ctx context.Context, a *app.App, _ *config.Config) (err error) {
				info, err = a.RepositoryShow(ctx, org)
				return err
			})
			if err != nil && len(info.Orgs) == 0 {
				return err
			}
			return errors.Join(e.print("repository", viewRepository(info), func(w io.Writer) { drawRepository(w, info) }), err)
		}),
	}
}

// repositoryView is a repository in JSON.
type repositoryView struct {
	ID   string              `json:"id"`
	URL  string              `json:"url"`
	Orgs []repositoryOrgView `json:"orgs"`
}

type repositoryOrgView struct {
	ID      string       `json:"id"`
	Name    string       `json:"name"`
	Points  int          `json:"points"`
	Size    int64        `json:"size"`   // bytes, capacity of the disks of all points
	Stored  int64        `json:"stored"` // bytes that the points added
	Connect *connectView `json:"connect,omitempty"`
}

// connectView is what the stock kopia command needs.
type connectView struct {
	Path     string   `json:"path"`
	Password string   `json:"password"`
	Username string   `json:"username"`
	Hostname string   `json:"hostname"`
	Commands []string `json:"commands"`
}

func viewRepository(info app.RepositoryInfo) repositoryView {
	v := repositoryView{ID: info.ID, URL: info.URL, Orgs: []repositoryOrgView{}}
	for _, o := range info.Orgs {
		org := repositoryOrgView{ID: o.ID, Name: o.Name, Points: o.Points, Size: o.Size, Stored: o.Stored}
		if o.Connect != nil {
			connect := connectView(*o.Connect)
			org.Connect = &connect
		}
		v.Orgs = append(v.Orgs, org)
	}
	return v
}

func drawRepository(w io.Writer, info app.RepositoryInfo) {
	fmt.Fprintf(w, "repository %s in %s\n", clean(info.ID), clean(info.URL))
	row(w, "ORG", "ID", "POINTS", "SIZE", "STORED")
	for _, o := range info.Orgs {
		row(w, o.Name, o.ID, strconv.Itoa(o.Points), wording.Size(o.Size), wording.Size(o.Stored))
	}
	flush(w)
	for _, o := range info.Orgs {
		if o.Connect == nil {
			continue
		}
		fmt.Fprintf(w, "\nthe stock kopia command reaches %s so:\n  export KOPIA_PASSWORD=%s\n", clean(o.Name), clean(o.Connect.Password))
		for _, command := range o.Connect.Commands {
			fmt.Fprintf(w, "  %s\n", clean(command))
		}
	}
}
