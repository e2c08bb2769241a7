package cloud

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"
)

// vappvault's configuration, as its documentation describes it.
type configuration struct {
	Version    int              `yaml:"version"`
	Sites      []configSite     `yaml:"sites"`
	Repository configRepository `yaml:"repository"`
	StateDir   string           `yaml:"stateDir"`
	Transports []string         `yaml:"transports,omitempty"`
	VDDK       configVDDK       `yaml:"vddk,omitempty"`
}

type configVDDK struct {
	LibDir      string `yaml:"libdir,omitempty"`
	Plugin      string `yaml:"plugin,omitempty"`
	NFCHostPort int    `yaml:"nfcHostPort,omitempty"`
}

type configSite struct {
	ID           string `yaml:"id"`
	configServer `yaml:",inline"`
	VCenters     []configServer `yaml:"vcenters"`
}

type configServer struct {
	URL          string `yaml:"url"`
	CA           string `yaml:"ca"`
	User         string `yaml:"user"`
	PasswordFile string `yaml:"passwordFile"`
}

type configRepository struct {
	URL          string `yaml:"url"`
	PasswordFile string `yaml:"passwordFile"`
}

const (
	caFile             = "ca.pem"
	repositoryPassword = "repository.password" //nolint:gosec // the name of a file
)

// WriteConfig writes a configuration for vappvault that works as it is: the
// addresses and accounts of this cloud, a repository and a state folder. What
// it refers to is beside it. Files are for their owner alone. A repository
// password that is there already is kept, since a repository may depend on it.
func (c *Cloud) WriteConfig(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	files := map[string][]byte{caFile: c.ca.pem()}
	config := configuration{
		Version:    1,
		Repository: configRepository{URL: "repository", PasswordFile: repositoryPassword},
		StateDir:   "state",
	}
	for _, site := range c.sites {
		secret := site.spec.ID + ".password"
		files[secret] = []byte(site.spec.Admin.Password + "\n")
		entry := configSite{
			ID:           site.spec.ID,
			configServer: configServer{site.director.URL().String(), caFile, site.spec.Admin.Name + "@System", secret},
		}
		for _, vc := range site.vcenters {
			secret := site.spec.ID + "-" + vc.spec.Name + ".password"
			files[secret] = []byte(vc.spec.Password + "\n")
			entry.VCenters = append(entry.VCenters, configServer{vc.server.URL().String(), caFile, vc.spec.User, secret})
		}
		config.Sites = append(config.Sites, entry)
	}
	if c.vddk.LibDir != "" {
		config.Transports, config.VDDK = []string{"vddk", "datastore", "nfc"}, c.vddk
		_, config.VDDK.NFCHostPort = c.DiskPort()
	}
	if err := keepPassword(filepath.Join(dir, repositoryPassword)); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	for name, content := range files {
		if err := writePrivate(filepath.Join(dir, name), content); err != nil {
			return fmt.Errorf("configuration: %w", err)
		}
	}
	var text bytes.Buffer
	text.WriteString("# written by vcdsim\n")
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	if err := errors.Join(encoder.Encode(config), encoder.Close()); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	// Last, so that whoever waits for it finds everything it names.
	if err := writePrivate(path, text.Bytes()); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	return nil
}

// keepPassword makes a password file where there is none.
func keepPassword(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return writePrivate(path, []byte(rand.Text()+"\n"))
}

// writePrivate replaces a file as a whole.
func writePrivate(path string, content []byte) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temporary.Name()) }() // there only after an error
	if _, err := temporary.Write(content); err != nil {
		return errors.Join(err, temporary.Close())
	}
	if err := temporary.Close(); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}
