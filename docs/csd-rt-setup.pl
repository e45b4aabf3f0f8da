#!/usr/bin/perl
# Prepares Request Tracker 5 for okienko: user, rights, custom fields, webhook. Run it again at any time, it changes only
# what is missing. See csd-rt.md.
#
#   perl csd-rt-setup.pl --queue Helpdesk --queue Konta [--field Kanal] [--correlation OkienkoID] [--user okienko]
#       [--webhook] [--token-file /root/okienko.token]
#
# The address and the secret of the webhook are set in RT_SiteConfig.pm:
#   Set($OkienkoWebhookURL, 'https://okienko.example.org/csd/rt/webhook');
#   Set($OkienkoWebhookSecret, '…');
use strict;
use warnings;
use Getopt::Long;
use lib '/usr/local/share/request-tracker5/lib', '/usr/share/request-tracker5/lib', '/opt/rt5/local/lib', '/opt/rt5/lib';
use RT -init;

my ( @queues, @fields, $webhook, $token_file );
my ( $correlation, $name ) = ( 'OkienkoID', 'okienko' );
GetOptions(
    'queue=s'       => \@queues,
    'field=s'       => \@fields,
    'correlation=s' => \$correlation,
    'user=s'        => \$name,
    'webhook'       => \$webhook,
    'token-file=s'  => \$token_file,
) && @queues or die "usage: see the head of this file\n";

sub must { my ( $ok, $message ) = @_; die "$message\n" unless $ok; return $ok }
my $system = RT->SystemUser;

my $user = RT::User->new($system);
$user->Load($name);
must( $user->Create( Name => $name, Privileged => 1, Comments => 'okienko, see csd-rt.md' ) ) unless $user->Id;

sub grant {
    my ( $object, @rights ) = @_;
    for my $right (@rights) {
        next if $user->PrincipalObj->HasRight( Right => $right, Object => $object );
        must( $user->PrincipalObj->GrantRight( Right => $right, Object => $object ) );
    }
}

my @objects = map { my $queue = RT::Queue->new($system); must( $queue->Load($_), "no queue $_" ); $queue } @queues;
for my $queue (@objects) {
    # Not AdminQueue, not SuperUser: it sees, writes and assigns tickets of these queues, and nothing else.
    grant( $queue,
        qw(SeeQueue ShowTicket ShowTicketComments CreateTicket CommentOnTicket ReplyToTicket ModifyTicket ReassignTicket) );
}

# UniqueValues would not refuse a second ticket: RT would leave the field of the second one empty, and nobody could find it.
my %kind = ( LookupType => 'RT::Queue-RT::Ticket', Type => 'FreeformSingle', MaxValues => 1 );
for my $title ( $correlation, @fields ) {
    my $found = RT::CustomFields->new($system);
    $found->LimitToLookupType( $kind{LookupType} );
    $found->Limit( FIELD => 'Name', VALUE => $title, CASESENSITIVE => 0 );
    my $field = $found->First || RT::CustomField->new($system);
    must( $field->Create( %kind, Name => $title, Description => 'set by okienko' ) ) unless $field->Id;
    for my $queue (@objects) {
        must( $field->AddToObject($queue) ) unless $field->IsGlobal || $field->IsAdded( $queue->Id );
    }
    # On the field itself: only so may the user also read what the field is like, which `okienko check csd` does.
    grant( $field, qw(SeeCustomField ModifyCustomField SetInitialCustomField) );
}

if ($webhook) {
    my $code = <<'PERL';
require Digest::SHA; require HTTP::Request; require JSON; require LWP::UserAgent;
my $url = RT->Config->Get('OkienkoWebhookURL') or return 1;
my $body = JSON::encode_json({
    ticket => $self->TicketObj->id + 0, transaction => $self->TransactionObj->id + 0,
    type => $self->TransactionObj->Type, at => time });
my $mac = Digest::SHA::hmac_sha256_hex($body, RT->Config->Get('OkienkoWebhookSecret'));
my $answer = LWP::UserAgent->new(timeout => 3)->request(HTTP::Request->new(POST => $url,
    ['Content-Type' => 'application/json', 'X-Okienko-Signature' => "sha256=$mac"], $body));
# What is not delivered okienko asks for itself at its next look.
RT->Logger->warning('okienko webhook: ' . $answer->status_line) unless $answer->is_success;
1;
PERL
    for my $queue (@objects) {
        my $description = 'okienko: tell of changes in ' . $queue->Name;
        my $scrip       = RT::Scrip->new($system);
        $scrip->LoadByCols( Description => $description );
        if ( $scrip->Id ) {
            $scrip->SetCustomCommitCode($code);
            next;
        }
        # Once for all that one request changes, and not for what okienko itself writes.
        must( $scrip->Create(
            Description            => $description,
            Queue                  => $queue->Id,
            Stage                  => 'TransactionBatch',
            ScripCondition         => 'User Defined',
            CustomIsApplicableCode => 'return $self->TransactionObj->CreatorObj->Name ne ' . "'$name'" . ';',
            ScripAction            => 'User Defined',
            CustomPrepareCode      => 'return 1;',
            CustomCommitCode       => $code,
            Template               => 'Blank',
        ) );
    }
}

if ( $token_file && !-s $token_file ) {
    my ( $ok, $message, $token ) =
        RT::AuthToken->new($system)->Create( Owner => $user->Id, Description => 'okienko' );
    must( $ok, $message );
    umask 0077;
    open my $file, '>', $token_file or die "$token_file: $!\n";
    print {$file} $token;
    close $file or die "$token_file: $!\n";
}
print "RT $RT::VERSION is ready for okienko: user $name, queues @queues\n";
