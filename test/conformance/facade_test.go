package conformance

import (
	"testing"

	"github.com/vmware/go-vcloud-director/v3/govcd"

	facade "github.com/vappvault/vappvault/vcdsim"
)

// The address that the package vcdsim gives is one that the library takes.
func TestThePackagesAddressIsTheLibrarys(t *testing.T) {
	cloud, err := facade.Start(facade.Options{Dir: t.TempDir()})
	must(t, err, "start")
	t.Cleanup(func() { must(t, cloud.Close(), "close") })
	site := cloud.Sites()[0]
	client := govcd.NewVCDClient(*site.API(), true) // the process trusts another cloud's authority
	must(t, client.Authenticate(site.Admin.User, site.Admin.Password, "System"), "log in")
	vapps, err := client.Client.QueryVappList()
	must(t, err, "vApps")
	if len(vapps) == 0 {
		t.Error("no vApps")
	}
}
