package vcenter_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"
)

const envelope = `<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" ` +
	`xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>`

// TestSOAPAsOthersWriteIt: what is legal XML is understood, whoever wrote it.
func TestSOAPAsOthersWriteIt(t *testing.T) {
	t.Parallel()
	s, _ := newEstate(t).start(false)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Jar: jar, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // self-made certificate
	defer c.CloseIdleConnections()
	post := func(body string) (int, string) {
		t.Helper()
		req, err := http.NewRequest(http.MethodPost, s.URL().String(), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "text/xml; charset=utf-8")
		req.Header.Set("SOAPAction", `"urn:vim25/8.0.1.0"`)
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(b)
	}
	for _, tc := range []struct{ name, body, want string }{
		{"content with a default namespace", envelope + `<RetrieveServiceContent xmlns="urn:vim25"><_this type="ServiceInstance">ServiceInstance</_this></RetrieveServiceContent></soapenv:Body></soapenv:Envelope>`, "<sessionManager"},
		{"login with other prefixes, a header, CDATA and comments", "\xef\xbb\xbf<?xml version='1.0'?>\n<!-- from elsewhere -->\n" +
			`<S:Envelope xmlns:S="http://schemas.xmlsoap.org/soap/envelope/"><S:Header><op:operationID xmlns:op="urn:vim25">1-2</op:operationID></S:Header>` + "\n\t<S:Body>" +
			`<v:Login xmlns:v="urn:vim25"><v:_this type="SessionManager">SessionManager</v:_this><v:userName><![CDATA[` + user + `]]></v:userName><!-- c --><v:password>` + password + `</v:password></v:Login></S:Body></S:Envelope>`, "LoginResponse"},
		{"properties with prefixed types", `<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/" xmlns:i="http://www.w3.org/2001/XMLSchema-instance" xmlns:x="http://www.w3.org/2001/XMLSchema" xmlns:q1="urn:vim25"><e:Body>` +
			`<q1:CreateContainerView><q1:_this i:type="q1:ManagedObjectReference" type="ViewManager">ViewManager</q1:_this><q1:container i:type="q1:ManagedObjectReference" type="Folder">group-d1</q1:container>` +
			`<q1:type i:type="x:string">VirtualMachine</q1:type><q1:recursive i:type="x:boolean">1</q1:recursive></q1:CreateContainerView></e:Body></e:Envelope>`, "ContainerView"},
		{"an object spec whose selection has a prefixed type", `<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/" xmlns:i="http://www.w3.org/2001/XMLSchema-instance"><e:Body>` +
			`<RetrieveProperties xmlns="urn:vim25"><_this type="PropertyCollector">propertyCollector</_this><specSet><propSet><type>Datacenter</type><all>false</all><pathSet>name</pathSet></propSet>` +
			`<objectSet><obj type="Folder">group-d1</obj><skip>true</skip><selectSet xmlns:z="urn:vim25" i:type="z:TraversalSpec"><name>f</name><type>Folder</type><path>childEntity</path><skip>false</skip></selectSet></objectSet></specSet></RetrieveProperties></e:Body></e:Envelope>`, "DC0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if status, got := post(tc.body); status != http.StatusOK || !strings.Contains(got, tc.want) {
				t.Errorf("%d: %s", status, got)
			}
		})
	}
	t.Run("nothing that API 6 does not have", func(t *testing.T) {
		body := envelope + `<RetrieveServiceContent xmlns="urn:vim25"><_this type="ServiceInstance">ServiceInstance</_this></RetrieveServiceContent></soapenv:Body></soapenv:Envelope>`
		for version, want := range map[string]bool{"urn:vim25/6.7.1": false, "urn:vim25/7.0": true} {
			req, err := http.NewRequest(http.MethodPost, s.URL().String(), strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("SOAPAction", version)
			res, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(res.Body)
			res.Body.Close()
			if got := strings.Contains(string(b), "<tenantManager"); got != want || !strings.Contains(string(b), "<sessionManager") {
				t.Errorf("%s: %s", version, b)
			}
		}
	})
	for name, body := range map[string]string{
		"nothing":           "",
		"a document type":   strings.Replace(envelope, "<soapenv:Envelope", `<!DOCTYPE x [<!ENTITY a "b">]><soapenv:Envelope`, 1) + `</soapenv:Body></soapenv:Envelope>`,
		"elements too deep": envelope + strings.Repeat("<a>", 100_000),
		"not closed":        envelope,
		"a NUL":             envelope + "\x00</soapenv:Body></soapenv:Envelope>",
		"another encoding":  strings.Replace(envelope, "UTF-8", "UTF-16", 1) + `</soapenv:Body></soapenv:Envelope>`,
		"an unknown call":   envelope + `<Explode xmlns="urn:vim25"><_this type="ServiceInstance">ServiceInstance</_this></Explode></soapenv:Body></soapenv:Envelope>`,
		"an unknown object": envelope + `<CurrentTime xmlns="urn:vim25"><_this type="ServiceInstance">nobody</_this></CurrentTime></soapenv:Body></soapenv:Envelope>`,
		"no object":         envelope + `<CurrentTime xmlns="urn:vim25"/></soapenv:Body></soapenv:Envelope>`,
		"an empty body":     envelope + `</soapenv:Body></soapenv:Envelope>`,
		"something else":    `<html/>`,
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			if status, got := post(body); status != http.StatusInternalServerError || !strings.Contains(got, "Fault") {
				t.Errorf("%d: %s", status, got)
			}
		})
	}
	t.Run("refused: too much", func(t *testing.T) {
		req, err := http.NewRequest(http.MethodPost, s.URL().String(), io.LimitReader(spaces{}, 40<<20))
		if err != nil {
			t.Fatal(err)
		}
		if res, err := c.Do(req); err == nil { // it may also be cut off while it still sends
			res.Body.Close()
			if res.StatusCode != http.StatusRequestEntityTooLarge {
				t.Errorf("got %d", res.StatusCode)
			}
		}
	})
	if status, got := post(envelope + `<CurrentTime xmlns="urn:vim25"><_this type="ServiceInstance">ServiceInstance</_this></CurrentTime></soapenv:Body></soapenv:Envelope>`); status != http.StatusOK {
		t.Errorf("afterwards: %d %s", status, got)
	}
}

// spaces are spaces without end.
type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}
