package vcdsim_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/vappvault/vappvault/vcdsim"
)

// A cloud of one VM, its vCD asked with nothing but net/http, and a call that
// goes wrong because the test wants it to.
func Example() {
	dir, err := os.MkdirTemp("", "vcdsim")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	cloud, err := vcdsim.Start(vcdsim.Options{Dir: dir, Inventory: []byte(`
version: 1
sites:
- id: lab
  admin: {name: administrator, password: secret}
  vcenters: [{name: vc1}]
  orgs:
  - name: acme
    vdcs:
    - name: vdc1
      vapps:
      - name: shop
        vms: [{name: web, disks: [{size: 64MiB}]}]
`)})
	if err != nil {
		panic(err)
	}
	defer func() { _ = cloud.Close() }()

	trust := x509.NewCertPool()
	trust.AppendCertsFromPEM(cloud.CA())
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust, MinVersion: tls.VersionTLS12}}}
	site := cloud.Sites()[0]
	ask := func(method, path, accept string, prepare func(*http.Request)) (*http.Response, string) {
		request, err := http.NewRequest(method, site.URL.JoinPath(path).String(), nil)
		if err != nil {
			panic(err)
		}
		request.Header.Set("Accept", accept)
		prepare(request)
		response, err := client.Do(request)
		if err != nil {
			panic(err)
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			panic(err)
		}
		return response, string(body)
	}
	response, _ := ask("POST", "cloudapi/1.0.0/sessions/provider", "application/json;version=38.1", func(r *http.Request) {
		r.SetBasicAuth(site.Admin.User+"@System", site.Admin.Password)
	})
	token := response.Header.Get("X-VMWARE-VCLOUD-ACCESS-TOKEN")
	login := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }

	_, body := ask("GET", "api/org", "application/*+xml;version=38.1", login)
	fmt.Println("acme is there:", strings.Contains(body, `name="acme"`))

	if _, err := cloud.AddFault(vcdsim.Rule{Service: "vcd", Operation: "GET /api/org", Count: 1, Effect: vcdsim.Effect{Status: 503}}); err != nil {
		panic(err)
	}
	for range 2 {
		response, _ := ask("GET", "api/org", "application/*+xml;version=38.1", login)
		fmt.Println(response.Status)
	}
	fmt.Println("calls of /api/org:", len(cloud.Calls(vcdsim.Rule{Service: "vcd", Operation: "GET /api/org"}, 0)))
	// Output:
	// acme is there: true
	// 503 Service Unavailable
	// 200 OK
	// calls of /api/org: 3
}
