package conformance

import (
	"bufio"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmware/go-vcloud-director/v3/govcd"
)

// endpoint is where the simulated vCD is and who may log in as provider.
type endpoint struct {
	url, user, password string
}

var vcd endpoint

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		code = 1
	}
	os.Exit(code)
}

// run starts a vcdsim, reads the configuration that it writes, runs the tests
// and has it shut down cleanly.
func run(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "conformance")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	binary, err := vcdsim(dir)
	if err != nil {
		return 1, err
	}
	config := filepath.Join(dir, "vappvault.yaml")
	documents := filepath.Join(dir, "documents")
	server := exec.Command(binary, "serve", "--dir", filepath.Join(dir, "cloud"), "--config-out", config, "--record", documents)
	server.Stderr = os.Stderr
	out, err := server.StdoutPipe()
	if err != nil {
		return 1, err
	}
	if err := server.Start(); err != nil {
		return 1, err
	}
	ready := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			ready <- lines.Text()
		}
		close(ready)
	}()
	defer func() {
		err = errors.Join(err, server.Process.Signal(syscall.SIGTERM), server.Wait())
	}()
	select {
	case line := <-ready:
		if !strings.HasPrefix(line, "ready ") {
			return 1, fmt.Errorf("vcdsim serve: got %q, want a ready line", line)
		}
	case <-time.After(time.Minute):
		return 1, errors.New("vcdsim serve: not ready after a minute")
	}
	if vcd, err = read(config); err != nil {
		return 1, err
	}
	code = m.Run()
	return code, validate(documents)
}

// validate has what the library was answered checked against VMware's schemas,
// where they are.
func validate(documents string) error {
	if os.Getenv("VAPPVAULT_VCD_API") == "" {
		return nil
	}
	check := exec.Command("go", "run", "./test/validate", documents)
	check.Dir = filepath.Join("..", "..")
	check.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	if out, err := check.CombinedOutput(); err != nil {
		return fmt.Errorf("documents that are not valid: %w\n%s", err, out)
	}
	return nil
}

func vcdsim(dir string) (string, error) {
	if binary := os.Getenv("VCDSIM_BIN"); binary != "" {
		return binary, nil
	}
	binary := filepath.Join(dir, "vcdsim")
	build := exec.Command("go", "build", "-o", binary, "./cmd/vcdsim")
	build.Dir = filepath.Join("..", "..")
	build.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return "", fmt.Errorf("build vcdsim: %w", err)
	}
	return binary, nil
}

// read takes the first site from a configuration. Its keys come before those
// of the vCenters.
func read(config string) (endpoint, error) {
	text, err := os.ReadFile(config)
	if err != nil {
		return endpoint{}, err
	}
	values := map[string]string{}
	for _, key := range []string{"url", "ca", "user", "passwordFile"} {
		match := regexp.MustCompile(`(?m)^\s*(?:- )?` + key + `: *"?([^"\n]+)"?$`).FindSubmatch(text)
		if match == nil {
			return endpoint{}, fmt.Errorf("%s: no %s", config, key)
		}
		values[key] = string(match[1])
	}
	beside := filepath.Dir(config)
	// The library has no option for an authority; Go reads this one before
	// the first connection.
	if err := os.Setenv("SSL_CERT_FILE", filepath.Join(beside, values["ca"])); err != nil {
		return endpoint{}, err
	}
	password, err := os.ReadFile(filepath.Join(beside, values["passwordFile"]))
	if err != nil {
		return endpoint{}, err
	}
	user, _, _ := strings.Cut(values["user"], "@")
	return endpoint{values["url"], user, strings.TrimSpace(string(password))}, nil
}

// login returns a client that checks certificates.
func login(t *testing.T, user, password, org string) *govcd.VCDClient {
	t.Helper()
	client, err := tryLogin(user, password, org)
	if err != nil {
		t.Fatalf("log in as %s@%s: %v", user, org, err)
	}
	t.Cleanup(func() {
		// The library's Disconnect asks for XML where sessions are JSON.
		current, err := client.Client.OpenApiBuildEndpoint("1.0.0/sessions/current")
		if err == nil {
			err = client.Client.OpenApiDeleteItem(client.Client.APIVersion, current, nil, nil)
		}
		if err != nil {
			t.Errorf("log out %s@%s: %v", user, org, err)
		}
	})
	return client
}

func tryLogin(user, password, org string) (*govcd.VCDClient, error) {
	address, err := url.Parse(vcd.url)
	if err != nil {
		return nil, err
	}
	client := govcd.NewVCDClient(*address, false)
	return client, client.Authenticate(user, password, org)
}

func provider(t *testing.T) *govcd.VCDClient { return login(t, vcd.user, vcd.password, "System") }

// find returns a vApp, and the VDC and org that it is in.
func find(t *testing.T, client *govcd.VCDClient, org, vdc, vapp string) (*govcd.Org, *govcd.Vdc, *govcd.VApp) {
	t.Helper()
	o, err := client.GetOrgByName(org)
	if err != nil {
		t.Fatalf("org %s: %v", org, err)
	}
	v, err := o.GetVDCByName(vdc, false)
	if err != nil {
		t.Fatalf("VDC %s: %v", vdc, err)
	}
	a, err := v.GetVAppByName(vapp, true)
	if err != nil {
		t.Fatalf("vApp %s: %v", vapp, err)
	}
	return o, v, a
}

// equal reports a difference.
func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// must ends the test on an error.
func must(t *testing.T, err error, what string) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
