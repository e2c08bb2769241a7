package vcdsim_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/vcdsim"
)

// The example with curl runs as it stands, and once more.
func TestCurl(t *testing.T) {
	t.Parallel()
	inventory, err := os.ReadFile("examples/curl.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cloud := started(t, inventory)
	for range 2 {
		if out, err := curl(t, cloud); err != nil || !strings.HasSuffix(out, "delete: success\ndone\n") {
			t.Fatalf("%v\n%s", err, out)
		}
	}
}

// Against another cloud it says what is wrong.
func TestCurlSaysWhatVCDSays(t *testing.T) {
	t.Parallel()
	out, err := curl(t, started(t, []byte(`
version: 1
sites:
- id: lab
  vcenters: [{name: vc1}]
  orgs: [{name: acme}]
`)))
	if err == nil || !strings.Contains(out, "this failed") || !strings.Contains(out, "minorErrorCode") {
		t.Errorf("%v\n%s", err, out)
	}
}

func started(t *testing.T, inventory []byte) *vcdsim.Cloud {
	t.Helper()
	cloud, err := vcdsim.Start(vcdsim.Options{Dir: t.TempDir(), Inventory: inventory})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cloud.Close() })
	return cloud
}

func curl(t *testing.T, cloud *vcdsim.Cloud) (string, error) {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, cloud.CA(), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "examples/curl.sh", cloud.Sites()[0].URL.String(), ca)
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	return string(out), err
}
