# A small Rails application in one file: a database, a form with its token, an upload, a file.
require 'logger'
require 'digest'
require 'active_record/railtie'
require 'action_controller/railtie'
require 'sqlite3'

ENV['DATABASE_URL'] = "sqlite3:#{ENV.fetch('FOLDER')}/notes.sqlite3?pool=10&timeout=5000"

# One configured application, nothing generated.
class Notebook < Rails::Application
  config.root = ENV.fetch('FOLDER')
  config.eager_load = true
  config.secret_key_base = 'a secret that nobody has to keep from anybody'
  config.hosts.clear
  config.logger = Logger.new($stdout)
  config.log_level = :warn
  config.session_store :cookie_store, key: '_notebook'
  config.consider_all_requests_local = false
  config.action_dispatch.show_exceptions = Rails::VERSION::STRING >= '7.1' ? :all : true

  routes.append do
    root to: 'notes#index'
    resources :notes, only: %i[index create show]
    post '/upload', to: 'notes#upload'
    get '/file', to: 'notes#file'
    get '/live', to: 'live#index'
    get '/raise', to: 'notes#fail'
  end
end

Rails.env = 'production'
ActiveRecord::Base.establish_connection(ENV.fetch('DATABASE_URL'))
ActiveRecord::Schema.verbose = false
ActiveRecord::Schema.define { create_table(:notes, if_not_exists: true) { |table| table.string :text } }
# Connections are not for sharing between processes.
ActiveRecord::Base.connection_handler.clear_all_connections!

# A row of the database.
class Note < ActiveRecord::Base
  validates :text, presence: true
end

# Notes, files and failures.
class NotesController < ActionController::Base
  protect_from_forgery with: :exception

  FORM = <<~HTML.freeze
    <%= form_with url: '/notes', local: true do |form| %><%= form.text_field :text %><% end %>
    <p id="count"><%= Note.count %></p>
  HTML

  def index
    session[:seen] = session[:seen].to_i + 1
    render inline: FORM
  end

  def create
    note = Note.create!(text: params[:text])
    redirect_to "/notes/#{note.id}"
  end

  def show
    render plain: "#{Note.find(params[:id]).text} (seen #{session[:seen].to_i})"
  end

  def upload
    content = params[:file].read
    render plain: "#{params[:file].original_filename} #{content.bytesize} #{Digest::SHA256.hexdigest(content)}"
  end

  def file
    send_file __FILE__, type: 'text/plain', disposition: 'inline'
  end

  def fail
    raise 'in rails'
  end
end

# A stream that is written from its own thread.
class LiveController < ActionController::Base
  include ActionController::Live

  def index
    response.headers['Content-Type'] = 'text/plain'
    3.times { |number| response.stream.write("line #{number}\n") }
  ensure
    response.stream.close
  end
end

Rails.application.initialize!
