"""A national trusted list (ETSI TS 119 612) for tests."""

from __future__ import annotations

import base64
from datetime import datetime

from signing.pki import DAY, NOW, Identity
from signing.xml import enveloped

GRANTED = "http://uri.etsi.org/TrstSvc/TrustedList/Svcstatus/granted"
WITHDRAWN = "http://uri.etsi.org/TrstSvc/TrustedList/Svcstatus/withdrawn"
FOR_SIGNATURES = "http://uri.etsi.org/TrstSvc/TrustedList/SvcInfoExt/ForeSignatures"
FOR_WEB = "http://uri.etsi.org/TrstSvc/TrustedList/SvcInfoExt/ForWebSiteAuthentication"


def trusted_list(
    signer: Identity,
    authorities: list[Identity],
    *,
    status: str = GRANTED,
    purpose: str = FOR_SIGNATURES,
    number: int = 7,
    next_update: datetime | None = NOW + 90 * DAY,
) -> bytes:
    """A sealed list with one CA/QC service for each authority."""
    return enveloped(signer, _xml(authorities, status, purpose, number, next_update))


def _xml(authorities: list[Identity], status: str, purpose: str, number: int, next_update: datetime | None) -> str:
    services = "".join(
        f"""<TSPService><ServiceInformation>
<ServiceTypeIdentifier>http://uri.etsi.org/TrstSvc/Svctype/CA/QC</ServiceTypeIdentifier>
<ServiceName><Name xml:lang="en">Invented service</Name></ServiceName>
<ServiceDigitalIdentity><DigitalId><X509Certificate>{base64.b64encode(authority.der).decode()}</X509Certificate></DigitalId></ServiceDigitalIdentity>
<ServiceStatus>{status}</ServiceStatus><StatusStartingTime>2017-01-01T00:00:00Z</StatusStartingTime>
<ServiceInformationExtensions><Extension Critical="true"><AdditionalServiceInformation><URI xml:lang="en">{purpose}</URI></AdditionalServiceInformation></Extension></ServiceInformationExtensions>
</ServiceInformation></TSPService>"""
        for authority in authorities
    )
    name = '<Name xml:lang="en">Invented</Name>'
    address = """<PostalAddresses><PostalAddress xml:lang="en"><StreetAddress>Nowhere 1</StreetAddress><Locality>Nowhere</Locality><CountryName>PL</CountryName></PostalAddress></PostalAddresses><ElectronicAddress><URI xml:lang="en">http://list.invalid</URI></ElectronicAddress>"""
    update = f"<dateTime>{next_update:%Y-%m-%dT%H:%M:%SZ}</dateTime>" if next_update else ""
    return f"""<TrustServiceStatusList xmlns="http://uri.etsi.org/02231/v2#" TSLTag="http://uri.etsi.org/19612/TSLTag" Id="list">
<SchemeInformation><TSLVersionIdentifier>5</TSLVersionIdentifier><TSLSequenceNumber>{number}</TSLSequenceNumber>
<TSLType>http://uri.etsi.org/TrstSvc/TrustedList/TSLType/EUgeneric</TSLType><SchemeOperatorName>{name}</SchemeOperatorName>
<SchemeOperatorAddress>{address}</SchemeOperatorAddress><SchemeName>{name}</SchemeName>
<SchemeInformationURI><URI xml:lang="en">http://list.invalid</URI></SchemeInformationURI>
<StatusDeterminationApproach>http://uri.etsi.org/TrstSvc/TrustedList/StatusDetn/EUappropriate</StatusDeterminationApproach>
<SchemeTypeCommunityRules><URI xml:lang="en">http://list.invalid</URI></SchemeTypeCommunityRules><SchemeTerritory>PL</SchemeTerritory>
<PolicyOrLegalNotice><TSLLegalNotice xml:lang="en">none</TSLLegalNotice></PolicyOrLegalNotice>
<HistoricalInformationPeriod>65535</HistoricalInformationPeriod>
<ListIssueDateTime>{NOW - DAY:%Y-%m-%dT%H:%M:%SZ}</ListIssueDateTime><NextUpdate>{update}</NextUpdate></SchemeInformation>
<TrustServiceProviderList><TrustServiceProvider><TSPInformation><TSPName>{name}</TSPName><TSPAddress>{address}</TSPAddress>
<TSPInformationURI><URI xml:lang="en">http://list.invalid</URI></TSPInformationURI></TSPInformation>
<TSPServices>{services}</TSPServices></TrustServiceProvider></TrustServiceProviderList></TrustServiceStatusList>"""
